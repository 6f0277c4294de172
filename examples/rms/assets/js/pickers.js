// Tom Select on the menus marked with data-pick.
import TomSelect from 'tom-select/base';
import removeButton from 'tom-select/plugins/remove_button/plugin.js';

TomSelect.define('remove_button', removeButton);

export function pickers(root = document) {
  root.querySelectorAll('select[data-pick]').forEach((select) => {
    new TomSelect(select, {
      plugins: select.multiple ? ['remove_button'] : [],
      maxOptions: 200,
      placeholder: select.dataset.placeholder || '',
      hidePlaceholder: true,
      allowEmptyOption: !select.multiple,
    });
  });
}
