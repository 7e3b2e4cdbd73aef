// The texts of the page and its example contexts, in three languages.
const tiers = {
  ko: { pinned: "편집 추천", llm: "모델이 작성", web: "웹 검색", cache: "저장된 결과", stale: "조금 지난 결과", embedded: "내장 검색", starter: "첫 화면 추천" },
  en: { pinned: "editors' choice", llm: "written by a model", web: "web search", cache: "from the cache", stale: "a little old", embedded: "embedded search", starter: "starters" },
  ja: { pinned: "編集部のおすすめ", llm: "モデルが作成", web: "ウェブ検索", cache: "保存した結果", stale: "少し前の結果", embedded: "内蔵検索", starter: "はじめのおすすめ" },
};

export const TEXTS = {
  ko: {
    ask: "무엇이 궁금하세요?", hint: "예: 서울 지하철 막차 시간", send: "질문", chips: "이런 질문은 어때요", links: "관련 링크", answer: "답변", clear: "지우기",
    skip: "입력창으로 건너뛰기", samples: "이런 상황에서 써 보세요", trouble: "일부러 문제 내기", counters: "이번 방문(노출 · 클릭 · 비율)",
    hood: "자세히 보기", curl: "명령", request: "요청", response: "응답", key: "API 키",
    failed: "지금은 불러올 수 없어요", needKey: "이 서버는 API 키가 필요해요. 아래에 입력하세요.",
    chipsBy: "추천 질문", linksBy: "링크", page: "읽는 글", chat: "대화",
    bare: "모델과 웹 검색 없이 내장 추천만 쓰고 있어요. 설정의 suggest.chip_route와 suggest.sources로 켤 수 있어요.",
    troubles: { none: "정상", slow: "느림", down: "중단", garbage: "이상한 답", 429: "한도 초과" }, parts: { llm: "모델", web: "웹 검색" }, tier: tiers.ko,
  },
  en: {
    ask: "What is on your mind?", hint: "For example: how do vaccines work", send: "Ask", chips: "You might ask", links: "Related links", answer: "Answer", clear: "Clear",
    skip: "Skip to the composer", samples: "Try a context", trouble: "Make trouble", counters: "This visit (seen · tapped · rate)",
    hood: "Under the hood", curl: "Command", request: "Request", response: "Response", key: "API key",
    failed: "This cannot be loaded now", needKey: "This server needs an API key. Enter it below.",
    chipsBy: "chips", linksBy: "links", page: "Page", chat: "Chat",
    bare: "Running on the embedded tier alone: no model, no web search. Set suggest.chip_route and suggest.sources to add them.",
    troubles: { none: "fine", slow: "slow", down: "down", garbage: "garbage", 429: "over quota" }, parts: { llm: "Model", web: "Web search" }, tier: tiers.en,
  },
  ja: {
    ask: "何が気になりますか？", hint: "例：確定申告のやり方", send: "質問", chips: "こんな質問はどうですか", links: "関連リンク", answer: "回答", clear: "消す",
    skip: "入力欄へ移動", samples: "場面を選んで試す", trouble: "わざと問題を起こす", counters: "今回の訪問(表示・タップ・割合)",
    hood: "しくみを見る", curl: "コマンド", request: "リクエスト", response: "レスポンス", key: "APIキー",
    failed: "今は読み込めません", needKey: "このサーバーにはAPIキーが必要です。下に入力してください。",
    chipsBy: "質問の候補", linksBy: "リンク", page: "読んでいる記事", chat: "会話",
    bare: "モデルとウェブ検索なしで、内蔵のおすすめだけを使っています。設定のsuggest.chip_routeとsuggest.sourcesで有効になります。",
    troubles: { none: "正常", slow: "遅い", down: "停止", garbage: "おかしな答え", 429: "上限超過" }, parts: { llm: "モデル", web: "ウェブ検索" }, tier: tiers.ja,
  },
};

const chat = (user, assistant) => ({ messages: [{ role: "user", content: user }, { role: "assistant", content: assistant }] });
export const SAMPLES = {
  ko: [
    { label: "막차가 궁금할 때", query: "서울 지하철 막차 시간" },
    { label: "연말정산이 처음일 때", query: "연말정산 처음인데 뭐부터 해?" },
    { label: "기사를 읽을 때", kind: "page", context: { page: { title: "장미 축제, 이번 주말 열린다", text: "공원에서 장미 축제가 열린다. 정원 가꾸기 강좌도 함께 진행한다." } } },
    { label: "대화를 나눌 때", kind: "chat", context: chat("전기차 살까 고민이야", "주행거리와 충전 환경, 보조금을 비교해 보세요.") },
  ],
  en: [
    { label: "A question", query: "how do vaccines work" },
    { label: "A bit of code", query: "python async http client timeouts" },
    { label: "Reading a page", kind: "page", context: { page: { title: "Roses for beginners", text: "Roses need sun, water and a little pruning. A garden is a patient teacher." } } },
    { label: "In a chat", kind: "chat", context: chat("Should I buy an electric car?", "Compare range, charging and running costs.") },
  ],
  ja: [
    { label: "旅の計画", query: "東京から京都への新幹線" },
    { label: "税金のこと", query: "確定申告のやり方" },
    { label: "記事を読むとき", kind: "page", context: { page: { title: "京都の紅葉だより", text: "嵐山の紅葉は十一月下旬が見ごろ。朝は人が少ない。" } } },
    { label: "会話のとき", kind: "chat", context: chat("NISAを始めたい", "毎月の積立額と、つみたて投資枠の商品を比べましょう。") },
  ],
};
