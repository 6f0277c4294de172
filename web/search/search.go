// Package search is the page of what was found.
package search

// Hit is one thing found.
type Hit struct{ App, Ref, Name, Path string }
