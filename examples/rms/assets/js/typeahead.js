// Type-ahead for the search field: suggestions from the REST interface in a
// list that the keyboard reaches. Enter without a choice searches as usual.

const WAIT = 140; // ms between the last key and the question

export function typeAhead(input) {
  if (!input) return;
  const list = document.createElement('ul');
  list.className = 'suggestions';
  list.id = 'suggestions';
  list.setAttribute('role', 'listbox');
  list.hidden = true;
  input.closest('.search').append(list);
  Object.entries({
    role: 'combobox', 'aria-expanded': 'false', 'aria-controls': list.id,
    'aria-autocomplete': 'list', autocomplete: 'off',
  }).forEach(([name, value]) => input.setAttribute(name, value));

  let timer = null;
  let asked = null;
  let chosen = -1;

  const close = () => {
    list.hidden = true;
    chosen = -1;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };

  const choose = (to) => {
    const options = [...list.children];
    if (!options.length) return;
    chosen = (to + options.length) % options.length;
    options.forEach((option, at) => option.setAttribute('aria-selected', at === chosen));
    input.setAttribute('aria-activedescendant', options[chosen].id);
  };

  const show = (found) => {
    list.replaceChildren(...found.map((candidate, at) => option(candidate, at)));
    chosen = -1;
    list.hidden = !found.length;
    input.setAttribute('aria-expanded', String(found.length > 0));
  };

  const ask = async () => {
    if (asked) asked.abort();
    asked = new AbortController();
    const words = input.value.trim();
    if (words.length < 2) { close(); return; }
    try {
      const url = `${input.dataset.typeahead}?q=${encodeURIComponent(words)}`;
      const answer = await fetch(url, { signal: asked.signal, headers: { Accept: 'application/json' } });
      if (answer.ok && document.activeElement === input) show(await answer.json());
    } catch (error) {
      if (error.name !== 'AbortError') close();
    }
  };

  input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(ask, WAIT); });
  input.addEventListener('blur', () => setTimeout(close, 120));
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close();
    if (list.hidden) return;
    if (event.key === 'ArrowDown') { event.preventDefault(); choose(chosen + 1); }
    if (event.key === 'ArrowUp') { event.preventDefault(); choose(chosen - 1); }
    if (event.key === 'Enter' && chosen >= 0) {
      event.preventDefault();
      window.location.href = list.children[chosen].firstChild.href;
    }
  });
}

function option(candidate, at) {
  const item = document.createElement('li');
  item.id = `suggestion-${at}`;
  item.setAttribute('role', 'option');
  item.setAttribute('aria-selected', 'false');
  const link = document.createElement('a');
  link.href = candidate.url;
  link.tabIndex = -1;
  link.append(
    span(`avatar avatar-sm hue-${candidate.hue}`, candidate.initials),
    span('suggestion-name', candidate.name),
    span('suggestion-more', [candidate.position, candidate.city].filter(Boolean).join(', ')),
  );
  item.append(link);
  return item;
}

function span(className, text) {
  const element = document.createElement('span');
  element.className = className;
  element.textContent = text;
  return element;
}
