package clone

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// entry is one server, or one golden copy.
type entry struct {
	ID     string          `json:"id"`   // its folder
	Name   string          `json:"name"` // the engine's: "testing-anna__next"
	KeptAt time.Time       `json:"kept_at,omitzero"`
	Parked bool            `json:"parked,omitempty"` // stopped on purpose
	Copy   bosman.CopyInfo `json:"copy,omitzero"`
	Golden *golden         `json:"golden,omitempty"`
	Of     *ofGolden       `json:"of,omitempty"` // the golden copy it was made of
}

// golden is what more is known of a golden copy.
type golden struct {
	Source string        `json:"source"` // cluster/database
	Mark   postgres.Mark `json:"mark"`   // of the source when it was taken
	Mask   string        `json:"mask,omitempty"`
}

// index is all that an app has here. A server that it does not name is half
// made, or dropped.
type index struct {
	Number  int64                `json:"number,omitempty"` // grows with each change
	Boot    string               `json:"boot,omitempty"`   // of a note: the start of the host until whose end it counts
	Entries []entry              `json:"entries"`
	Lost    map[string]time.Time `json:"lost,omitempty"` // instances whose copy went with the host
}

// find gives the entry of an engine's name.
func (x *index) find(name string) *entry {
	for i := range x.Entries {
		if x.Entries[i].Name == name {
			return &x.Entries[i]
		}
	}
	return nil
}

func (x *index) remove(id string) {
	for i := range x.Entries {
		if x.Entries[i].ID == id {
			x.Entries = append(x.Entries[:i], x.Entries[i+1:]...)
			return
		}
	}
}

// lose notes that the copy of an instance went with the host.
func (x *index) lose(name string, found time.Time) {
	if x.Lost == nil {
		x.Lost = map[string]time.Time{}
	}
	x.Lost[name] = found
}

func (h *Host) indexPath(app string) string { return filepath.Join(h.Dir, app, "index.json") }

func (h *Host) notePath(app string) string { return filepath.Join(h.Dir, app, "index.now") }

// read gives the index of an app.
func (h *Host) read(app string) (index, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, _, err := h.readLocked(app)
	return x, err
}

// readLocked gives the index, and whether the disk may have an older one.
func (h *Host) readLocked(app string) (x index, noted bool, err error) {
	b, err := os.ReadFile(h.indexPath(app))
	if err == nil {
		err = json.Unmarshal(b, &x)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil && b != nil:
		return x, false, bosman.Conflict("the list of copies %s is damaged", h.indexPath(app)).
			WithKept("the copies are untouched").WithNext("move it away: Bosman makes new copies then").Because(err)
	case err != nil:
		return x, false, diskError("read the list of copies", h.Dir, err)
	}
	n, counts, err := h.readNote(app)
	if err != nil || !counts || n.Number <= x.Number {
		return x, false, err // of before the host was restarted, or written down since
	}
	return n, true, nil
}

// readNote gives what was noted last, and whether it still counts: it does not
// outlive the host.
func (h *Host) readNote(app string) (n index, counts bool, err error) {
	b, err := os.ReadFile(h.notePath(app))
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}
	if err != nil {
		return n, false, diskError("read the list of copies", h.Dir, err)
	}
	boot, err := ground.BootID()
	if err != nil || json.Unmarshal(b, &n) != nil { // it was not on the disk
		return index{}, false, err
	}
	return n, n.Boot == boot, nil
}

// forgetNote removes a note that went with the host. Copies that were handed
// out just before are lost: their servers ran.
func (h *Host) forgetNote(app string, found time.Time) error {
	h.mu.Lock()
	n, counts, err := h.readNote(app)
	h.mu.Unlock()
	if err != nil || counts {
		return err
	}
	x, err := h.read(app)
	if err != nil {
		return err
	}
	var gone []string
	for _, en := range n.Entries {
		if n.Number > x.Number && en.Golden == nil && len(database.Tags(en.Name)) == 0 && x.find(en.Name) == nil {
			gone = append(gone, en.Name)
		}
	}
	if len(gone) > 0 {
		if err := h.update(app, func(all *index) error {
			for _, name := range gone {
				all.lose(name, found)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := os.Remove(h.notePath(app)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("forget what was noted of copies", h.Dir, err)
	}
	return nil
}

// update changes the index of an app in one step, on its disk.
func (h *Host) update(app string, change func(*index) error) error {
	return h.change(app, change, "", h.indexPath(app), atomicfile.Write)
}

// note is update that does not wait for the disk, which takes longer than all
// else of a hand-out: Bosman may be killed after it, and should the host stop
// before Tend wrote it down, what it is about, a running server, is lost
// anyway.
func (h *Host) note(app string, change func(*index) error) error {
	boot, err := ground.BootID()
	if err != nil {
		return err
	}
	return h.change(app, change, boot, h.notePath(app), func(path string, b []byte, mode fs.FileMode) error {
		fresh := path + ".fresh"
		if err := os.WriteFile(fresh, b, mode); err != nil {
			return err
		}
		return os.Rename(fresh, path)
	})
}

// change puts the changed index of an app at path, as of a start of the host.
func (h *Host) change(app string, change func(*index) error, boot, path string, put func(string, []byte, fs.FileMode) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, _, err := h.readLocked(app)
	if err == nil {
		err = change(&x)
	}
	if err != nil {
		return err
	}
	x.Number, x.Boot = x.Number+1, boot
	b, err := json.MarshalIndent(x, "", " ")
	if err != nil {
		return err
	}
	return diskError("note what copies of "+app+" there are", h.Dir, put(path, append(b, '\n'), 0o600))
}

// writeDown writes to the disk what was only noted.
func (h *Host) writeDown(app string) error {
	h.mu.Lock()
	_, noted, err := h.readLocked(app)
	h.mu.Unlock()
	if err != nil || !noted {
		return err
	}
	return h.update(app, func(*index) error { return nil })
}
