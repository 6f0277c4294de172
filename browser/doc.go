// Package browser plays Bosman's road as a person with a browser and without
// a shell walks it: Chromium against the real binary, at the width of a desk
// and of a phone. With -shots it takes the pictures of docs/screenshots
// instead. It holds tests only; it must not reach into pages or stages.
package browser
