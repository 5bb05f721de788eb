/** A small table in the browser (IndexedDB): what is not sent yet survives the page. */

const NAME = "sa-engine-annotate";
const TABLE = "outbox";

const done = (what) =>
  new Promise((resolve, reject) => {
    what.onsuccess = () => resolve(what.result);
    what.onerror = () => reject(what.error);
  });

/** Open the table; null where the browser forbids it (then only memory keeps the work). */
export async function openStore() {
  try {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(TABLE, { keyPath: "id" });
    const base = await done(asked);
    const table = (mode) => base.transaction(TABLE, mode).objectStore(TABLE);
    return {
      all: () => done(table("readonly").getAll()),
      put: (entry) => done(table("readwrite").put(entry)),
      remove: (id) => done(table("readwrite").delete(id)),
    };
  } catch {
    return null;
  }
}
