// Package archtest holds no code: its tests pin what the tree promises and a
// compiler does not check. They read import lists and text only.
package archtest
