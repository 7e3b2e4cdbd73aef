// Type-checked against what openapi-typescript makes of /openapi.json: the frontend's view.
import type { components, paths } from "./hamlet.js";

type Suggestions = components["schemas"]["Suggestions"];
type Body = NonNullable<paths["/v1/suggest"]["post"]["requestBody"]>["content"]["application/json"];

const wish: Body = { context: { query: "roses" }, chips: { limit: 4 }, budget_ms: 400 };

export function labels(shown: Suggestions): string[] {
  const first: string | undefined = shown.links?.items?.[0]?.url;
  const tier: string | undefined = shown.chips?.tier;
  return [JSON.stringify(wish), first ?? "", tier ?? "", ...(shown.chips?.items ?? []).map((chip) => chip.text)];
}

// @ts-expect-error a limit is a number
export const wrong: Body = { chips: { limit: "four" } };
