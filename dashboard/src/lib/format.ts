/** Numbers and times as people read them. The exact value goes into a title beside each. */

export type Unit = "count" | "ms" | "percent" | "usd" | "points" | "bytes" | "seconds";

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const exactPlain = new Intl.NumberFormat("en", { maximumFractionDigits: 9 });
const NOTHING = "–";

function scaled(value: number, units: readonly [number, string][]): string {
  const size = Math.abs(value);
  for (const [factor, name] of units) {
    // 999.95 of a unit would round to 1000 of it, so the next one takes it.
    if (size >= factor * 0.9995) {
      const inUnit = value / factor;
      const digits = Math.abs(inUnit) < 9.995 ? 2 : Math.abs(inUnit) < 99.95 ? 1 : 0;
      return `${trim(inUnit.toFixed(digits))}${name}`;
    }
  }
  return trim(value.toFixed(size !== 0 && size < 9.995 && !Number.isInteger(value) ? 2 : 0));
}

function trim(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

const THOUSANDS: readonly [number, string][] = [
  [1e12, " T"],
  [1e9, " G"],
  [1e6, " M"],
  [1e3, " k"],
];
const BYTES: readonly [number, string][] = [
  [1024 ** 3, " GiB"],
  [1024 ** 2, " MiB"],
  [1024, " KiB"],
];

/** `1.2 k`, `$0.0031`, `840 ms`, `2.4 %`; a dash where there is no value. */
export function formatNumber(value: number | null | undefined, unit: Unit = "count"): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  switch (unit) {
    case "count":
      return scaled(value, THOUSANDS);
    case "ms":
      return formatMs(value);
    case "seconds":
      return formatMs(value * 1000);
    case "percent":
      return `${trim(value.toFixed(Math.abs(value) < 9.995 && value !== 0 ? 2 : 1))} %`;
    case "usd":
      return formatUsd(value);
    case "points":
      return value.toFixed(2);
    case "bytes":
      return Math.abs(value) < 1024 ? `${value} B` : scaled(value, BYTES);
  }
}

function formatMs(ms: number): string {
  const size = Math.abs(ms);
  if (size === 0) return "0 ms";
  if (size < 1) return `${trim(ms.toFixed(2))} ms`;
  if (size < 9.95) return `${trim(ms.toFixed(1))} ms`;
  if (size < 999.5) return `${Math.round(ms)} ms`;
  if (size < 119_500) return `${trim((ms / 1000).toFixed(size < 9_995 ? 2 : 1))} s`;
  return formatDuration(ms / 1000);
}

function formatUsd(usd: number): string {
  const size = Math.abs(usd);
  if (size === 0) return "$0";
  const sign = usd < 0 ? "−" : "";
  if (size < 0.01) return `${sign}$${trim(size.toPrecision(2).includes("e") ? size.toFixed(9) : size.toPrecision(2))}`;
  if (size < 999.995) return `${sign}$${size.toFixed(2)}`;
  return `${sign}$${scaled(size, THOUSANDS)}`;
}

/** The value with all its digits, for titles. */
export function formatExact(value: number | null | undefined, unit: Unit = "count"): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "no data";
  const digits = exactPlain.format(value);
  switch (unit) {
    case "usd":
      return `$${digits}`;
    case "percent":
      return `${digits} %`;
    case "ms":
      return `${digits} ms`;
    case "seconds":
      return `${digits} s`;
    case "points":
      return `${digits} of 5`;
    case "bytes":
      return `${digits} bytes`;
    case "count":
      return digits;
  }
}

/** Whole numbers with separators: `12,345`. */
export function formatInteger(value: number): string {
  return plain.format(value);
}

/** `1 d 3 h`, `4 min 10 s`, `38 s`. */
export function formatDuration(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  const units: [number, string][] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  let rest = total;
  for (const [size, name] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${name}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0 s";
}

/** `now`, `12 s ago`, `4 min ago`, `3 h ago`, `2 d ago`. */
export function formatAgo(then: number, now: number): string {
  const seconds = Math.round((now - then) / 1000);
  if (seconds < -60) return `in ${formatDuration(-seconds).split(" ").slice(0, 2).join(" ")}`;
  if (seconds < 2) return "now";
  return `${formatDuration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

/** `+12.4 %`, `−3 %`, `±0 %`. */
export function formatChange(percent: number): string {
  const size = Math.abs(percent);
  const digits = trim(size.toFixed(size < 99.95 ? 1 : 0));
  if (Number(digits) === 0) return "±0 %";
  return `${percent > 0 ? "+" : "−"}${formatLarge(digits)} %`;
}

function formatLarge(digits: string): string {
  const value = Number(digits);
  return value >= 10_000 ? scaled(value, THOUSANDS) : digits;
}

export type Zone = "utc" | "local";

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let found = formatters.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat("en-GB", { ...options, hourCycle: "h23", timeZone: zone === "utc" ? "UTC" : undefined });
    formatters.set(key, found);
  }
  return found;
}

/** How much of a time is shown. */
export type Precision = "day" | "date" | "weekday" | "hour" | "minute" | "second" | "ms" | "clock" | "clock-second";

const DAY: Intl.DateTimeFormatOptions = { day: "numeric", month: "short" };
const PRECISIONS: Record<Precision, Intl.DateTimeFormatOptions> = {
  day: DAY,
  date: { ...DAY, year: "numeric" },
  weekday: { weekday: "short", ...DAY },
  hour: { ...DAY, hour: "2-digit", minute: "2-digit" },
  minute: { ...DAY, hour: "2-digit", minute: "2-digit" },
  second: { ...DAY, hour: "2-digit", minute: "2-digit", second: "2-digit" },
  ms: { ...DAY, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 },
  clock: { hour: "2-digit", minute: "2-digit" },
  "clock-second": { hour: "2-digit", minute: "2-digit", second: "2-digit" },
};

/** `26 Nov, 10:57` in the zone of the page. */
export function formatTime(time: number | string | Date, zone: Zone, precision: Precision = "minute"): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return String(time);
  return formatter(zone, PRECISIONS[precision]).format(date);
}

/** The time with its year and zone, for titles: `26 Nov 2026, 10:57:52.123 UTC`. */
export function formatTimeExact(time: number | string | Date, zone: Zone): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return String(time);
  const options = { ...PRECISIONS.ms, year: "numeric", timeZoneName: "short" } as const;
  return formatter(zone, options).format(date);
}
