package wire

// Fetched is what ends a backup that is handed over: the sha256 of each file
// by its name, in hexadecimal.
type Fetched map[string]string

// FetchedSums is the name of the last entry of the tar file, a Fetched as JSON.
const FetchedSums = "sums.json"
