// Workflows of any server, as the nodes of this one take them.
//
// Where a server has dynamic inputs, a group's members stand behind their choice and are named
// GROUP.MEMBER; elsewhere all members are there at any time, by their plain names. A node's
// definition says how both lay their inputs out. A workflow is changed before the graph is made of
// it; one that is of this kind already stays as it is.

const LAYOUT = "toprovar_layout";
const BY = { name: "by", size: "width and height", aspect: "aspect and pixels" };

/** How inputs of a node lie, by its definition; undefined where no server has them otherwise. */
export function layoutOf(definition) {
  const { required, optional } = definition?.input ?? {};
  return Object.values({ ...required, ...optional }).map((spec) => spec?.[1]?.[LAYOUT])
    .find(Boolean);
}

/** All of a graph's nodes and those of its subgraphs, as this server has them. */
export function adaptGraph(graph, layouts) {
  for (const one of [graph, ...(graph.definitions?.subgraphs ?? [])]) {
    for (const node of one.nodes ?? []) {
      const layout = layouts.get(node.type);
      if (!layout) continue;
      adaptValues(node, layout);
      adaptSockets(node, layout, one);
    }
  }
}

function adaptValues(node, layout) {
  const values = node.widgets_values;
  if (!Array.isArray(values)) return;
  const grouped = readGrouped(values, layout);
  if (layout.is_dynamic) {
    const plain = grouped ? undefined : readPlain(values, layout);
    if (!plain) return;
    node.widgets_values = writeGrouped(plain, layout);
  } else {
    if (!grouped && !needsBy(values, layout)) return;
    const found = grouped ?? readPlain(values, layout);
    node.widgets_values = layout.plain.map((name) => found[name] ?? layout.defaults[name]);
  }
  delete node.widgets_values_named; // which newer frontends prefer
}

/** {name: value} of values that lie as dynamic inputs do, or undefined. */
function readGrouped(values, { dynamic, groups }) {
  const found = {};
  let at = 0;
  for (const name of dynamic) {
    const value = values[at++];
    found[name] = value;
    const options = groups[name];
    if (!options) continue;
    if (!Object.hasOwn(options, value)) return undefined;
    for (const member of options[value]) found[member] = values[at++];
  }
  return at === values.length ? found : undefined;
}

/** The same of plain ones; workflows of earlier releases have fewer. */
function readPlain(values, { plain, groups }) {
  const found = Object.fromEntries(
    plain.slice(0, values.length).map((name, i) => [name, values[i]]));
  const fits = Object.entries(groups).every(([name, options]) =>
    !Object.hasOwn(found, name) || Object.hasOwn(options, found[name]));
  if (!fits || values.length > plain.length) return undefined;
  if (plain.includes(BY.name)) found[BY.name] ??= found.width && found.height ? BY.size : BY.aspect;
  return found;
}

/** Whether a size was saved before it said by what it is chosen. */
const needsBy = (values, { plain }) => plain.includes(BY.name) && values.length < plain.length;

function writeGrouped(found, { dynamic, groups, defaults }) {
  const value = (name) => found[name] ?? defaults[name];
  return dynamic.flatMap((name) => [value(name),
    ...(groups[name]?.[value(name)] ?? []).map(value)]);
}

/** Sockets by the names that they have here. Those of widgets that are not connected are left out:
 * the node makes them. So are those that bring only what another one brings as well. */
function adaptSockets(node, layout, graph) {
  if (!Array.isArray(node.inputs)) return;
  const links = new Map((graph.links ?? []).map((link) => [linkOf(link).id, link]));
  const from = (name) => {
    const input = node.inputs.find((one) => one.name === name);
    return input && links.has(input.link) ? linkOf(links.get(input.link)).origin : undefined;
  };
  const origins = new Map(Object.values(layout.implied).map((name) => [name, from(name)]));
  const kept = [];
  for (const input of node.inputs) {
    const name = nameHere(input.name, layout);
    const linked = input.link !== null && input.link !== undefined;
    const brought = layout.implied[input.name];
    if (brought && linked && from(input.name) === origins.get(brought)) unlink(graph, input.link);
    else if (name === input.name && !(brought && !linked)) kept.push(input);
    else if (linked) {
      kept.push({ ...input, name, ...(input.widget ? { widget: { ...input.widget, name } } : {}) });
    }
  }
  if (kept.length === node.inputs.length && kept.every((one, i) => one === node.inputs[i])) return;
  node.inputs = kept;
  kept.forEach((input, slot) => {
    const link = links.get(input.link);
    if (Array.isArray(link)) link[4] = slot;
    else if (link) link.target_slot = slot;
  });
}

/** An input's name on this server. */
function nameHere(name, { is_dynamic: dynamic, groups }) {
  const [group, member] = name.split(".");
  if (!dynamic) return member && Object.hasOwn(groups, group) ? member : name;
  const owner = Object.keys(groups).find((one) =>
    Object.values(groups[one]).some((members) => members.includes(name)));
  return owner ? `${owner}.${name}` : name;
}

/** A link's number and the node that it comes from; graphs list them in two ways. */
const linkOf = (link) => (Array.isArray(link) ? { id: link[0], origin: link[1] }
  : { id: link.id, origin: link.origin_id });

function unlink(graph, id) {
  graph.links = graph.links.filter((link) => linkOf(link).id !== id);
  for (const { outputs } of graph.nodes) {
    for (const output of outputs ?? []) {
      if (output.links) output.links = output.links.filter((one) => one !== id);
    }
  }
}
