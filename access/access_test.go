package access

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

type fakePeople struct {
	people map[string]bosman.Person
	tokens map[string]bosman.Token
	saved  int
}

func (f *fakePeople) Person(_ context.Context, name string) (bosman.Person, error) {
	p, ok := f.people[name]
	if !ok {
		return p, bosman.NotFound("no %s", name)
	}
	return p, nil
}

func (f *fakePeople) Token(_ context.Context, id string) (bosman.Token, error) {
	t, ok := f.tokens[id]
	if !ok {
		return t, bosman.NotFound("no token")
	}
	return t, nil
}

func (f *fakePeople) SaveToken(_ context.Context, t bosman.Token) error {
	f.tokens[t.ID] = t
	f.saved++
	return nil
}

func TestLogin(t *testing.T) {
	hash, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakePeople{people: map[string]bosman.Person{
		"anna": {Name: "anna", PasswordHash: hash},
		"gone": {Name: "gone", PasswordHash: hash, Disabled: true},
		"bot":  {Name: "bot"},
	}}
	if p, err := Login(t.Context(), f, "anna", "correct horse"); err != nil || p.Name != "anna" {
		t.Errorf("%v, %v", p, err)
	}
	for _, c := range [][2]string{{"anna", "wrong"}, {"anna", ""}, {"nobody", "correct horse"}, {"gone", "correct horse"}, {"bot", ""}} {
		if _, err := Login(t.Context(), f, c[0], c[1]); bosman.KindOf(err) != bosman.KindForbidden {
			t.Errorf("%v was let in: %v", c, err)
		}
	}
	if _, err := HashPassword("short"); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a short password: %v", err)
	}
	for _, hash := range []string{"", "x", "$argon2id$v=19$m=99999999,t=1,p=1$AA$AA", "$argon2id$v=19$m=8,t=0,p=1$AA$AA", "$argon2id$v=19$m=8,t=1,p=1$AA$"} {
		if PasswordMatches(hash, "") {
			t.Errorf("the hash %q matches", hash)
		}
	}
}

func TestTokens(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	tok, text := NewToken("anna", "laptop", now)
	if strings.Contains(tok.Hash, text) || !IsToken(text) {
		t.Error("the token's text is kept")
	}
	f := &fakePeople{people: map[string]bosman.Person{"anna": {Name: "anna"}}, tokens: map[string]bosman.Token{tok.ID: tok}}
	for range 3 {
		if p, err := ByToken(t.Context(), f, text, now); err != nil || p.Name != "anna" {
			t.Fatalf("%v, %v", p, err)
		}
	}
	if f.saved != 1 {
		t.Errorf("the use was noted %d times within a minute", f.saved)
	}
	for _, bad := range []string{"", "bos_", "bos_" + tok.ID, "bos_" + tok.ID + "_", text[:len(text)-1] + "x", "bos_none_" + strings.Repeat("0", 48)} {
		if _, err := ByToken(t.Context(), f, bad, now); bosman.KindOf(err) != bosman.KindForbidden {
			t.Errorf("%q was let in: %v", bad, err)
		}
	}
	tok.ExpiresAt = now
	f.tokens[tok.ID] = tok
	if _, err := ByToken(t.Context(), f, text, now.Add(time.Second)); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("an expired token was let in: %v", err)
	}
}

func TestMatrix(t *testing.T) {
	for _, c := range []struct {
		role bosman.Role
		verb bosman.Verb
		kind bosman.InstanceKind
		may  bool
	}{
		{bosman.RoleViewer, bosman.MaySee, "", true},
		{bosman.RoleViewer, bosman.MayPush, "", false},
		{bosman.RoleDeveloper, bosman.MayPush, "", true},
		{bosman.RoleDeveloper, bosman.MayMerge, "", false},
		{bosman.RoleDeveloper, bosman.MayDeploy, bosman.KindStaging, true},
		{bosman.RoleDeveloper, bosman.MayDeploy, bosman.KindLive, false},
		{bosman.RoleDeveloper, bosman.MayRun, bosman.KindLive, false},
		{bosman.RoleTester, bosman.MayDeploy, bosman.KindLive, true},
		{bosman.RoleTester, bosman.MayRevert, bosman.KindLive, true},
		{bosman.RoleTester, bosman.MayRun, bosman.KindLive, false},
		{bosman.RoleTester, bosman.MayRestore, bosman.KindStaging, false},
		{bosman.RoleAdmin, bosman.MayAdminister, "", true},
		{"", bosman.MaySee, "", false},
	} {
		p := bosman.Person{Name: "x", Role: c.role}
		if got := Check(p, c.verb, "rms", c.kind) == nil; got != c.may {
			t.Errorf("%s may %s on %q: %v", c.role, c.verb, c.kind, got)
		}
		p.Disabled = true
		if Check(p, c.verb, "rms", c.kind) == nil {
			t.Errorf("a disabled %s may %s", c.role, c.verb)
		}
	}
	p := bosman.Person{Name: "x", Role: bosman.RoleViewer, AppRoles: map[string]bosman.Role{"rms": bosman.RoleAdmin}}
	if Check(p, bosman.MayDeploy, "rms", bosman.KindLive) != nil || Check(p, bosman.MayDeploy, "shop", bosman.KindLive) == nil {
		t.Error("a role on one app must count there and only there")
	}
}
