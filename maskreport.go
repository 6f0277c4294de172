package bosman

// MaskReport says what is masked in copies of one database of an instance, and
// what is not.
type MaskReport struct {
	Instance string         `json:"instance"`
	Database string         `json:"database,omitempty"` // name of a further one; "" for the app's own
	Masked   []MaskedColumn `json:"masked"`
	Kept     []string       `json:"kept"` // columns that somebody has looked at and left
	Left     []MaskLeft     `json:"left"` // while there are any, no copy is made
	SQL      []string       `json:"sql"`  // files run afterwards
	Off      bool           `json:"off"`  // bosman.yaml asks for no masks
	Error    string         `json:"error,omitempty"`
}

// MaskedColumn is a column and what becomes of its values.
type MaskedColumn struct {
	Column string `json:"column"`
	Kind   string `json:"kind"`
	Via    string `json:"via,omitempty"` // listed column that it follows over foreign keys
}

// MaskLeft is a column that looks personal and stays as it is.
type MaskLeft struct {
	Column  string `json:"column"`
	Type    string `json:"type"`    // one of MaskTypes
	Suggest string `json:"suggest"` // the line to add to bosman.yaml
}
