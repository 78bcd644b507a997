// Runs before the first paint: the language, theme and colours that were chosen, so that nothing changes afterwards.
{
  const root = document.documentElement;
  const chosen = (name) => { try { return localStorage.getItem(name) ?? "auto"; } catch { return "auto"; } };
  const apply = () => {
    root.dataset.theme = chosen("theme");
    root.dataset.rise = chosen("rise") === "auto" ? root.dataset.market : chosen("rise");
    root.lang = chosen("lang") === "auto" ? (navigator.language.startsWith("zh") ? "zh" : "en") : chosen("lang");
  };
  apply();
  addEventListener("looks", apply);
  addEventListener("beforeprint", () => { root.dataset.theme = "light"; });
  addEventListener("afterprint", apply);
}
