// The pack's templates in the order of their names. The server lists the files of a folder as the
// disk has them, which is any order, and the browser of templates shows them like that.

/** The pack's folder, as the server calls it: it may have any name. */
const FOLDER = decodeURIComponent(
  new URL(import.meta.url).pathname.split("/extensions/").at(-1).split("/")[0],
);

/** Have the pack's own templates sorted in what the server lists. */
export function sortTemplates(api) {
  const list = api?.getWorkflowTemplates;
  if (typeof list !== "function") return;
  api.getWorkflowTemplates = async (...rest) => {
    const templates = await list.apply(api, rest);
    const own = templates?.[FOLDER];
    if (!Array.isArray(own)) return templates;
    const sorted = own.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }));
    return { ...templates, [FOLDER]: sorted };
  };
}
