// Before the first paint, so that a dark page does not flash white. A file of its own: the page's policy forbids inline script.
(() => {
  let theme = "system";
  try {
    theme = localStorage.getItem("agent-tally.theme") ?? "system";
  } catch {
    // Storage may be forbidden; then the system decides.
  }
  const isDark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("dark", isDark);
})();
