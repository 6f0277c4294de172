package custody

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/vault"
)

// RecoveryFile holds all that is known of the recovery key: its public half
// and a salted hash of its end. The secret half is shown once and kept nowhere.
const RecoveryFile = "recovery.json"

// endLength is how much of the key's end proves that somebody has it.
const endLength = 8

// Key says what is known of the recovery key.
//
//	none ─► made (its secret was shown) ─► confirmed
//	          ▲                               │
//	          └──────────── renewed ◄─────────┘
type Key struct {
	Made        bool      `json:"made"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	MadeAt      time.Time `json:"made_at"`
	MadeBy      string    `json:"made_by,omitempty"`
	ConfirmedAt time.Time `json:"confirmed_at"` // zero: nobody has proved to have it
	ConfirmedBy string    `json:"confirmed_by,omitempty"`
}

// Confirmed says whether somebody proved to have the key.
func (k Key) Confirmed() bool { return k.Made && !k.ConfirmedAt.IsZero() }

type recoveryRecord struct {
	Recipient   string    `json:"recipient"`
	Salt        string    `json:"salt"`
	End         string    `json:"end"` // sha256 of the salt and the key's last letters
	MadeAt      time.Time `json:"made_at"`
	MadeBy      string    `json:"made_by"`
	ConfirmedAt time.Time `json:"confirmed_at"`
	ConfirmedBy string    `json:"confirmed_by"`
}

// Recovery is the recovery key of an installation.
type Recovery struct {
	path string
	keys *vault.Keys
	mu   sync.Mutex
	r    recoveryRecord
}

// OpenRecovery reads the record at path, if there is one, and lets keys seal
// for the recovery key too.
func OpenRecovery(path string, keys *vault.Keys) (*Recovery, error) {
	r := &Recovery{path: path, keys: keys}
	rec, err := readRecovery(path)
	if err != nil {
		return nil, err
	}
	if r.r = rec; rec.Recipient == "" {
		return r, nil
	}
	return r, keys.SetRecovery(rec.Recipient)
}

// ReadKey says what is known of the recovery key recorded at path.
func ReadKey(path string) (Key, error) {
	rec, err := readRecovery(path)
	return rec.key(), err
}

func readRecovery(path string) (rec recoveryRecord, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &rec)
	}
	if err != nil {
		return rec, bosman.Unavailable("what is known of the recovery key cannot be read").Because(err).
			WithKept("no backup was changed").WithNext("look at " + path + "; with bosman recovery renew there is a new key")
	}
	return rec, nil
}

func (r recoveryRecord) key() Key {
	if r.Recipient == "" {
		return Key{}
	}
	return Key{true, vault.Fingerprint(r.Recipient), r.MadeAt, r.MadeBy, r.ConfirmedAt, r.ConfirmedBy}
}

// Key says what is known of the key.
func (r *Recovery) Key() Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.key()
}

// Make makes the key and gives its secret, the only time it can be seen.
// KindConflict if there is one, unless renew says that it is to be replaced:
// then what is put from now on is sealed for the new one instead.
func (r *Recovery) Make(by string, renew bool) (secret string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.r.Recipient != "" && !renew {
		return "", bosman.Conflict("the recovery key was shown on %s to %s and is kept nowhere; its fingerprint is %s", r.r.MadeAt.Format("2006-01-02"), r.r.MadeBy, r.r.key().Fingerprint).
			WithKept("it is as it was").WithNext("if nobody has it: bosman recovery renew")
	}
	secret, recipient, err := vault.NewKey()
	if err != nil {
		return "", err
	}
	salt := rand.Text()
	rec := recoveryRecord{Recipient: recipient, Salt: salt, End: endHash(salt, secret), MadeAt: time.Now().UTC(), MadeBy: by}
	if err := r.save(rec); err != nil {
		return "", err
	}
	return secret, r.keys.SetRecovery(recipient)
}

// Confirm proves that somebody has the key, by all of it or its last letters.
// KindInvalid if it is another.
func (r *Recovery) Confirm(by, answer string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.r.Recipient == "" {
		return bosman.Conflict("there is no recovery key yet").WithNext("bosman recovery show")
	}
	answer = strings.ToUpper(strings.Join(strings.Fields(answer), ""))
	right := false
	if len(answer) == endLength {
		right = subtle.ConstantTimeCompare([]byte(endHash(r.r.Salt, answer)), []byte(r.r.End)) == 1
	} else if k, err := vault.ParseKey(answer); err == nil {
		right = subtle.ConstantTimeCompare([]byte(k.Recipient()), []byte(r.r.Recipient)) == 1
	}
	if !right {
		return bosman.Invalid("that is not the recovery key with the fingerprint %s", r.r.key().Fingerprint).
			WithKept("it is not confirmed").WithNext("give the whole key or its last 8 letters; if nobody has it: bosman recovery renew")
	}
	rec := r.r
	rec.ConfirmedAt, rec.ConfirmedBy = time.Now().UTC(), by
	return r.save(rec)
}

func (r *Recovery) save(rec recoveryRecord) error {
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(r.path, append(data, '\n'), 0o600); err != nil {
		return bosman.Unavailable("what is known of the recovery key cannot be kept").Because(err).WithKept("the key is as it was")
	}
	r.r = rec
	return nil
}

// endHash is kept of a key. The letters hashed are mostly its checksum, so the
// hash tells next to nothing of the key.
func endHash(salt, key string) string {
	key = key[max(0, len(key)-endLength):]
	sum := sha256.Sum256([]byte(salt + key))
	return hex.EncodeToString(sum[:])
}
