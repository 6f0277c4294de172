// Package access knows who somebody is and what they may do: passwords,
// tokens and the permission matrix. It must not know HTTP or any stage.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/bosman-cd/bosman"
)

// Argon2id as RFC 9106 recommends for little memory: 3 passes over 64 MiB
// would stall a small server under a flood of log-ins, so 2 over 19 MiB (the
// OWASP minimum).
const (
	argonTime    = 2
	argonMemory  = 19 * 1024
	argonThreads = 1
	argonKey     = 32
)

// MinPassword is the shortest password taken, in bytes.
const MinPassword = 8

// HashPassword gives the argon2id hash of a password in the usual $-form.
func HashPassword(password string) (string, error) {
	if len(password) < MinPassword {
		return "", bosman.Invalid("the password is too short").WithNext(fmt.Sprintf("take at least %d characters; a few words are good", MinPassword))
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(key)), nil
}

// PasswordMatches compares in constant time. A hash that is not understood
// matches nothing.
func PasswordMatches(hash, password string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil || memory > 1<<20 || passes == 0 || passes > 16 || threads == 0 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// RandomKey gives n random bytes in hex.
func RandomKey(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	return hex.EncodeToString(b)
}

const tokenPrefix = "bos_"

// NewToken makes a token for a person: the row to keep and the text to show
// once.
func NewToken(person, name string, now time.Time) (bosman.Token, string) {
	id, secret := RandomKey(6), RandomKey(24)
	return bosman.Token{ID: id, Hash: hashToken(secret), Person: person, Name: name, CreatedAt: now.UTC()}, tokenPrefix + id + "_" + secret
}

func hashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret)) // the secret has 192 random bits, so a quick hash is enough
	return hex.EncodeToString(sum[:])
}

// People is where persons and tokens are kept.
type People interface {
	Person(ctx context.Context, name string) (bosman.Person, error)
	Token(ctx context.Context, id string) (bosman.Token, error)
	SaveToken(ctx context.Context, t bosman.Token) error
}

var errCredentials = "the name, password or token is not right"

// Login gives the person of a name and password.
func Login(ctx context.Context, people People, name, password string) (bosman.Person, error) {
	p, err := people.Person(ctx, name)
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return bosman.Person{}, err
	}
	hash := p.PasswordHash
	if err != nil || hash == "" {
		hash = dummyHash() // so that unknown names take as long as known ones
	}
	if !PasswordMatches(hash, password) || err != nil || p.PasswordHash == "" || p.Disabled {
		return bosman.Person{}, bosman.Forbidden("%s", errCredentials)
	}
	return p, nil
}

// dummyHash is the hash of a random password that nobody knows.
var dummyHash = sync.OnceValue(func() string {
	h, err := HashPassword(RandomKey(16))
	if err != nil {
		panic(err) // the random password is long enough
	}
	return h
})

// ByToken gives the person a token acts for, and notes its use (at most once
// a minute).
func ByToken(ctx context.Context, people People, text string, now time.Time) (bosman.Person, error) {
	refused := bosman.Forbidden("%s", errCredentials)
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return bosman.Person{}, refused
	}
	id, secret, ok := strings.Cut(rest, "_")
	if !ok {
		return bosman.Person{}, refused
	}
	t, err := people.Token(ctx, id)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return bosman.Person{}, refused
	}
	if err != nil {
		return bosman.Person{}, err
	}
	if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hashToken(secret))) != 1 {
		return bosman.Person{}, refused
	}
	if !t.ExpiresAt.IsZero() && now.After(t.ExpiresAt) {
		return bosman.Person{}, bosman.Forbidden("the token %s has expired", t.Name).WithNext("make a new one with bosman people token")
	}
	p, err := people.Person(ctx, t.Person)
	if err != nil {
		return bosman.Person{}, err
	}
	if p.Disabled {
		return bosman.Person{}, refused
	}
	if now.Sub(t.UsedAt) > time.Minute {
		t.UsedAt = now.UTC()
		if err := people.SaveToken(ctx, t); err != nil {
			return bosman.Person{}, err
		}
	}
	return p, nil
}

// IsToken says whether text looks like a token rather than a password.
func IsToken(text string) bool { return strings.HasPrefix(text, tokenPrefix) }

// Check says whether a person may do something on an app, on instances of a
// kind ("" for what concerns the app). The error says who may.
func Check(p bosman.Person, v bosman.Verb, app string, kind bosman.InstanceKind) error {
	role := p.RoleOn(app)
	if !p.Disabled && role.Allowed(v, kind) {
		return nil
	}
	var who []string
	for _, r := range bosman.Roles() {
		if r.Allowed(v, kind) {
			who = append(who, string(r)+"s")
		}
	}
	where := app
	if kind != "" {
		where = string(kind) + " of " + app
	}
	return bosman.Forbidden("%s is %s and may not %s on %s", p.Name, article(string(role)), v, where).
		WithKept("nothing was changed").WithNext("ask one of the " + strings.Join(who, " or ") + ", or an administrator for that right")
}

func article(role string) string {
	if role == "" {
		return "without a role"
	}
	if strings.ContainsRune("aeiou", rune(role[0])) {
		return "an " + role
	}
	return "a " + role
}
