package vault

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// Keys are who may open what is put (recipients), and what opens it here
// (identities). They may be extended while a store is in use.
type Keys struct {
	mu         sync.Mutex
	identities []age.Identity
	own        *age.X25519Recipient
	recovery   *age.X25519Recipient // nil: none yet
}

// OpenKeys reads the server's key file (DATA/backup.key), making it with mode
// 0600 when there is none.
func OpenKeys(path string) (*Keys, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, _, kerr := NewKey()
		if kerr != nil {
			return nil, kerr
		}
		data = []byte(secret + "\n")
		err = atomicfile.Write(path, data, 0o600)
	}
	if err != nil {
		return nil, bosman.Unavailable("the key of the backups, %s, cannot be read or made", path).Because(err)
	}
	k, err := ParseKey(string(data))
	if err != nil {
		return nil, bosman.Invalid("the key file %s is damaged", path).
			WithKept("no backup was changed").WithNext("put back the file; a state backup holds it, and the recovery key opens that")
	}
	return k, nil
}

// NewKey makes a key: its secret ("AGE-SECRET-KEY-1…") and the recipient
// ("age1…") that others seal for.
func NewKey() (secret, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	return id.String(), id.Recipient().String(), nil
}

// ParseKey gives the keys of one secret, as a person wrote it down: spaces,
// line ends and lower case do not matter, lines that begin with # are passed
// over. KindInvalid without the secret in the message.
func ParseKey(secret string) (*Keys, error) {
	var text strings.Builder
	for line := range strings.Lines(secret) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			text.WriteString(strings.Join(strings.Fields(line), ""))
		}
	}
	id, err := age.ParseX25519Identity(strings.ToUpper(text.String()))
	if err != nil { // its text may hold parts of the secret
		return nil, bosman.Invalid("that is not a key: a letter is missing or wrong").WithNext("it begins with AGE-SECRET-KEY-1 and has 74 characters")
	}
	return &Keys{identities: []age.Identity{id}, own: id.Recipient()}, nil
}

// Recipient is whom others seal for, so that these keys open it.
func (k *Keys) Recipient() string { return k.own.String() }

// Add lets k also open what other opens.
func (k *Keys) Add(other *Keys) {
	ids := other.ours()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.identities = append(k.identities, ids...)
}

// SetRecovery seals whatever is put from now on for the recovery key too,
// instead of the one named before.
func (k *Keys) SetRecovery(recipient string) error {
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return bosman.Invalid("the recipient of the recovery key is damaged").Because(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recovery = r
	return nil
}

func (k *Keys) all() []age.Recipient {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := []age.Recipient{k.own}
	if k.recovery != nil {
		all = append(all, k.recovery)
	}
	return all
}

func (k *Keys) ours() []age.Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]age.Identity(nil), k.identities...)
}

// Fingerprint is what people compare of a recipient: "3f2a 91c0 77de 0b14".
func Fingerprint(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	text := hex.EncodeToString(sum[:8])
	return text[:4] + " " + text[4:8] + " " + text[8:12] + " " + text[12:]
}
