// A choice of numbers in words, as the server reads it: "1,3-5" or "all". No DOM here.

/** Numbers from 1 to count in the order of the text; what is no such number is left out. */
export function parseNumbers(text, count) {
  const words = String(text ?? "").trim();
  if (words.toLowerCase() === "all") return Array.from({ length: count }, (_, i) => i + 1);
  const found = words.split(",").flatMap((part) => {
    const [, first, last = first] = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(part) ?? [];
    const [from, to] = [Number(first), Math.min(Number(last), count)];
    return from >= 1 && from <= to ? Array.from({ length: to - from + 1 }, (_, i) => from + i) : [];
  });
  return [...new Set(found)];
}

/** The same in words, in order: three in a row and more become a range. */
export function formatNumbers(numbers, count) {
  const sorted = [...new Set(numbers)].toSorted((a, b) => a - b);
  if (sorted.length === count && count > 1) return "all";
  const runs = [];
  for (const number of sorted) {
    const run = runs.at(-1);
    if (run && number === run[1] + 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => {
    if (first === last) return String(first);
    return last === first + 1 ? `${first},${last}` : `${first}-${last}`;
  }).join(",");
}
