package serve

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/store"
)

// Who guesses passwords by git or the API is slowed down as on the page; a
// token goes on working.
func TestGuessedPasswordsAreLimited(t *testing.T) {
	ctx := t.Context()
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), "bosman.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	hash, err := access.HashPassword("the right one")
	if err != nil {
		t.Fatal(err)
	}
	anna := bosman.Person{Name: "anna", Role: bosman.RoleTester, PasswordHash: hash, CreatedAt: time.Now()}
	if err := db.SavePerson(ctx, anna); err != nil {
		t.Fatal(err)
	}
	row, token := access.NewToken("anna", "laptop", time.Now())
	if err := db.SaveToken(ctx, row); err != nil {
		t.Fatal(err)
	}
	s := &server{store: db, limit: access.NewLimit(time.Now)}
	ask := func(password string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/tiny.git/info/refs", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("anna", password)
		r.Header.Set("X-Forwarded-For", "192.0.2.7")
		_, _, err = s.byCredentials(ctx, r)
		return err
	}
	if err := ask("the right one"); err != nil {
		t.Fatalf("the right password: %v", err)
	}
	for range 10 {
		if err := ask("a wrong one"); bosman.KindOf(err) != bosman.KindForbidden {
			t.Fatalf("a wrong password: %v", err)
		}
	}
	if err := ask("the right one"); bosman.KindOf(err) != bosman.KindBusy {
		t.Errorf("after ten wrong ones the password is still tried: %v", err)
	}
	if err := ask(token); err != nil {
		t.Errorf("a token is shut out with the password: %v", err)
	}
}
