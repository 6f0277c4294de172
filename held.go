package bosman

// Held says why an instance that follows main does not run main's release.
type Held struct {
	Release int    `json:"release"` // main's
	Why     string `json:"why"`     // one sentence: "r5, which main holds, is marked bad: reverted by d9"
	Next    string `json:"next"`    // what to do
}
