package database

import (
	"maps"
	"slices"
	"time"
)

// KeptData is what a restore or a fresh copy replaced, or what was recovered
// from the log.
type KeptData struct {
	At       time.Time
	Snapshot Snapshot
	Bytes    int64     // of the database
	AsOf     time.Time // of what was recovered: the moment it holds; zero for what was replaced
}

func sortKept(byTime map[string]*KeptData) []KeptData {
	var out []KeptData
	for _, stamp := range slices.Backward(slices.Sorted(maps.Keys(byTime))) {
		out = append(out, *byTime[stamp])
	}
	return out
}
