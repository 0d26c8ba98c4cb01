// What the browser keeps, as text: of a "tab", or of the whole "browser". What it refuses, as its storage is off or full, lies in the
// window until that is loaded anew. This stands before each script that keeps something.
const STORES = { tab: () => sessionStorage, browser: () => localStorage };
const refused = (window.darkroomRefused ??= {});

function stored(store, name) {
  const place = `${store} ${name}`;
  if (place in refused) return refused[place];
  try {
    return STORES[store]().getItem(name);
  } catch { return null; }
}

function store(store, name, text) {
  const place = `${store} ${name}`;
  try {
    STORES[store]().setItem(name, text);
    delete refused[place];
  } catch { refused[place] = text; }
}
