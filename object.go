package bosman

import "time"

// SealedObject is what a vault knows of an object without opening it: a part
// of a backup, or of Bosman's own state.
type SealedObject struct {
	Name   string    `json:"name"`
	Size   int64     `json:"size"`             // bytes in the target
	Plain  int64     `json:"bytes,omitempty"`  // bytes of the content; 0 when only listed
	SHA256 string    `json:"sha256,omitempty"` // of the bytes in the target; "" when only listed
	At     time.Time `json:"at"`               // when it was put
}
