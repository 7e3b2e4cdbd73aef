// Checks a Gateway API HTTPRoute, as JSON on standard input, by the schema of its CRD.
import { HTTPRoute } from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1';
import { text } from 'node:stream/consumers';

new HTTPRoute(JSON.parse(await text(process.stdin))).validate();
