// Package serve is the control plane: it opens Bosman's parts, ties the stages
// to the store and to each other, and runs until it is told to stop. It may
// die at any time: what runs goes on running, and the next start takes up
// every operation. It holds no rules of its own; those are the stages' and
// helm's.
package serve
