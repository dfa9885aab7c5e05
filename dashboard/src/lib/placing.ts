/** Where something that floats goes beside what it belongs to: below it, or above where there is more room; never off the page. */

const GAP = 6;
const EDGE = 8;

export function placeBeside(floating: HTMLElement, anchor: Element, align: "start" | "center" | "end"): void {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = floating;
  const { clientWidth: pageWidth, clientHeight: pageHeight } = document.documentElement;
  const wanted = align === "start" ? at.left : align === "end" ? at.right - width : at.left + at.width / 2 - width / 2;
  const left = Math.max(EDGE, Math.min(wanted, pageWidth - width - EDGE));
  const below = at.bottom + GAP;
  const fitsBelow = below + height + EDGE <= pageHeight || at.top < pageHeight - at.bottom;
  const top = fitsBelow ? below : Math.max(EDGE, at.top - GAP - height);
  floating.style.left = `${Math.round(left)}px`;
  floating.style.top = `${Math.round(top)}px`;
  floating.style.maxHeight = `${Math.round(fitsBelow ? pageHeight - below - EDGE : at.top - GAP - EDGE)}px`;
}
