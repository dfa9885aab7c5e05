/** A line as small as a word. Decoration beside numbers that say the same: hidden from screen readers. */
interface SparklineProps {
  values: readonly (number | null)[];
  color?: string;
  width?: number;
  height?: number;
  className?: string;
}

export function Sparkline({ values, color = "var(--chart-1)", width = 96, height = 24, className }: SparklineProps) {
  const known = values.filter((v): v is number => v !== null);
  if (known.length < 2) return <svg aria-hidden width={width} height={height} className={className} />;
  const top = Math.max(...known, 0);
  const bottom = Math.min(...known, 0);
  const x = (i: number) => 1 + (i / (values.length - 1)) * (width - 2);
  const y = (v: number) => height - 2 - (top === bottom ? 0 : ((v - bottom) / (top - bottom)) * (height - 4));
  let path = "";
  let isGap = true;
  values.forEach((v, i) => {
    if (v !== null) path += `${isGap ? "M" : "L"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    isGap = v === null;
  });
  return (
    <svg
      aria-hidden
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      className={className}
    >
      <path
        d={path}
        fill="none"
        stroke={color}
        strokeWidth="1.5"
        strokeLinejoin="round"
        strokeLinecap="round"
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}
