// Colours of values from 0 to 1, dark to light, even in brightness.

const STOPS = [
  [9, 6, 38], [58, 15, 98], [120, 28, 109], [180, 50, 91], [229, 92, 48], [251, 155, 28],
  [250, 220, 110], [252, 253, 200],
];

/** [red, green, blue] of a value. */
export function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((part, i) => Math.round(part + (STOPS[low + 1][i] - part) * (place - low)));
}

/** The ramp as a CSS background. */
export const gradient = () =>
  `linear-gradient(to right, ${STOPS.map((stop) => `rgb(${stop.join(",")})`).join(",")})`;
