package bosman

import "time"

// StoredRole says what a database on one of Bosman's servers is for.
type StoredRole string

// The roles of stored databases.
const (
	StoredOwn    StoredRole = "own"    // the database of an instance
	StoredGolden StoredRole = "golden" // what fresh copies are made of
	StoredPool   StoredRole = "ready"  // a copy made in advance, for whoever comes next
	StoredKept   StoredRole = "kept"   // what a fresh copy or a restore replaced
	StoredBeside StoredRole = "beside" // being built to take the place of another
)

// StoredDatabase is one database of an app on one of Bosman's servers.
type StoredDatabase struct {
	App      string     `json:"app"`
	Name     string     `json:"name"`     // on its server
	Instance string     `json:"instance"` // it is of; of golden and ready ones the one they are copies of
	Owner    string     `json:"owner,omitempty"`
	Role     StoredRole `json:"role"`
	Engine   string     `json:"engine"`
	Cluster  string     `json:"cluster,omitempty"`
	Bytes    int64      `json:"bytes"` // clones share blocks with what they were made of: together they take less
	Copy     CopyInfo   `json:"copy"`  // where its data came from; zero if it is no copy
	KeptAt   time.Time  `json:"kept_at,omitzero"`
	Until    time.Time  `json:"until,omitzero"` // when a kept one goes by itself; zero: never
}

// DatabaseServer is one of Bosman's servers, and how it makes copies.
type DatabaseServer struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Strategy string `json:"strategy"`           // "clone", "template", "dump"
	Why      string `json:"why"`                // one sentence on it
	Faster   string `json:"faster,omitempty"`   // why nothing faster is possible
	Free     int64  `json:"free"`               // bytes of its disk
	Leave    int64  `json:"leave"`              // bytes that copies leave free
	Quota    int64  `json:"quota,omitempty"`    // bytes that an app's copies may take; 0: no bound
	LogKept  bool   `json:"log_kept,omitempty"` // any moment of it can be recovered: see PointInTime
	Lacking  string `json:"lacking,omitempty"`  // what cannot be done with it here, and how to get it
}

// Storage is what an app's databases take, and where.
type Storage struct {
	Databases []StoredDatabase  `json:"databases"`
	Servers   []DatabaseServer  `json:"servers"`
	Pool      string            `json:"pool,omitempty"`    // why there are fewer copies ready than wanted
	Adopted   []AdoptedDatabase `json:"adopted,omitempty"` // those that Bosman did not make, with what is lost by that
}
