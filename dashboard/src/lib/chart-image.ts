/** Charts' SVGs as a PNG with its title and legend. Colours come from style sheets, so they are written into a copy first. */

const SCALE = 2;
const PADDING = 16;
const PROPERTIES = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "fill-opacity",
  "stroke-opacity",
  "opacity",
  "font-size",
  "font-family",
];

export interface ImageLegend {
  label: string;
  color: string;
}

/** The charts of a panel, one below the other. */
export async function chartImage(charts: readonly SVGSVGElement[], title: string, legend: readonly ImageLegend[]): Promise<Blob> {
  return await drawn(await Promise.all(charts.map(pictureOf)), title, legend);
}

interface Picture {
  image: HTMLImageElement;
  width: number;
  height: number;
}

async function pictureOf(svg: SVGSVGElement): Promise<Picture> {
  const { width, height } = svg.getBoundingClientRect();
  const copy = styledCopy(svg);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    return { image, width, height };
  } finally {
    URL.revokeObjectURL(url);
  }
}

function styledCopy(svg: SVGSVGElement): SVGSVGElement {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const [from, to] = [svg.querySelectorAll("*"), copy.querySelectorAll<SVGElement>("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of PROPERTIES) to[i]?.setAttribute(property, style.getPropertyValue(property));
  });
  return copy;
}

async function drawn(pictures: readonly Picture[], title: string, legend: readonly ImageLegend[]): Promise<Blob> {
  const top = PADDING + 22 + (legend.length > 0 ? 22 : 0);
  const canvas = document.createElement("canvas");
  canvas.width = (Math.max(...pictures.map(({ width }) => width)) + 2 * PADDING) * SCALE;
  canvas.height = (top + pictures.reduce((sum, { height }) => sum + height + PADDING, 0)) * SCALE;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser cannot draw pictures");
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const font = getComputedStyle(document.body).fontFamily;
  context.scale(SCALE, SCALE);
  context.fillStyle = color("--card");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = color("--foreground");
  context.font = `600 15px ${font}`;
  context.fillText(title, PADDING, PADDING + 12);
  context.font = `12px ${font}`;
  let x = PADDING;
  for (const { label, color: swatch } of legend) {
    context.fillStyle = resolved(swatch);
    context.fillRect(x, PADDING + 26, 10, 10);
    context.fillStyle = color("--muted-foreground");
    context.fillText(label, x + 15, PADDING + 35);
    x += 15 + context.measureText(label).width + 16;
  }
  let y = top;
  for (const { image, width, height } of pictures) {
    context.drawImage(image, PADDING, y, width, height);
    y += height + PADDING;
  }
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("this browser cannot write PNG");
  return blob;
}

/** A colour as a canvas takes it, whichever variables of the style sheet it is made of. */
function resolved(color: string): string {
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = color;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
