// Everything here makes pages nicer; without it they still work.
import '../scss/app.scss';
import Collapse from 'bootstrap/js/dist/collapse';
import Dropdown from 'bootstrap/js/dist/dropdown';
import { pickers } from './pickers';
import { typeAhead } from './typeahead';

document.documentElement.classList.add('js');

// Bootstrap finds its elements by data attributes once the modules are loaded.
export const parts = { Collapse, Dropdown };

pickers();
typeAhead(document.querySelector('[data-typeahead]'));

// A changed filter is applied at once.
document.querySelectorAll('[data-autosubmit]').forEach((field) => {
  field.addEventListener('change', () => field.form.requestSubmit());
});

// A chosen file says its name and lets the button be pressed.
document.querySelectorAll('[data-file]').forEach((input) => {
  input.addEventListener('change', () => input.form.requestSubmit());
});
