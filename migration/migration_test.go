package migration

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"
)

// trees is a Reader in memory: commit → path → text. A change's base is
// "base" unless there is none.
type trees struct {
	commits map[string]map[string]string
	read    int
}

func blobOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (t *trees) Files(_ context.Context, commit string) (map[string]string, error) {
	files := map[string]string{}
	for p, text := range t.commits[commit] {
		files[p] = blobOf(text)
	}
	return files, nil
}

func (t *trees) ChangedBlobs(_ context.Context, _, head string) (map[string]string, []string, error) {
	base, added := t.commits["base"], map[string]string{}
	var deleted []string
	for p, text := range t.commits[head] {
		if old, ok := base[p]; !ok || old != text {
			added[p] = blobOf(text)
		}
	}
	for p := range base {
		if _, ok := t.commits[head][p]; !ok {
			deleted = append(deleted, p)
		}
	}
	return added, deleted, nil
}

func (t *trees) Blobs(_ context.Context, blobs []string) (map[string][]byte, error) {
	want := map[string]bool{}
	for _, b := range blobs {
		want[b] = true
	}
	got := map[string][]byte{}
	for _, files := range t.commits {
		for _, text := range files {
			if b := blobOf(text); want[b] {
				got[b] = []byte(text)
			}
		}
	}
	t.read += len(blobs)
	return got, nil
}

// mig writes a migration that follows the given ones ("0007" or "auth.0001").
func mig(parents ...string) string {
	var deps []string
	for _, p := range parents {
		app, name, ok := strings.Cut(p, ".")
		if !ok {
			app, name = "shop", p
		}
		deps = append(deps, fmt.Sprintf("(%q, %q)", app, name))
	}
	return "from django.db import migrations\n\nclass Migration(migrations.Migration):\n    dependencies = [" + strings.Join(deps, ", ") + "]\n    operations = []\n"
}

func squash(parents []string, replaces ...string) string {
	text := mig(parents...) + "    replaces = ["
	for _, r := range replaces {
		text += fmt.Sprintf("('shop', %q), ", r)
	}
	return text + "]\n"
}

type tree map[string]string

func at(name string) string { return "rms/shop/migrations/" + name + ".py" }

func with(base tree, more tree) tree {
	t := tree{}
	for p, text := range base {
		t[p] = text
	}
	for p, text := range more {
		if text == "" {
			delete(t, p)
		} else {
			t[p] = text
		}
	}
	return t
}

var shop = tree{
	"rms/shop/migrations/__init__.py": "",
	"rms/shop/models.py":              "class Migration(models.Model):\n    dependencies = [('a', 'b')]\n",
	"manage.py":                       "import sys\n",
	at("0001_initial"):                mig(),
	at("0002_x"):                      mig("0001_initial", "auth.0012"),
	at("0003_y"):                      mig("0002_x"),
}

func collide(t *testing.T, main tree, heads map[int]tree) map[int][]Collision {
	t.Helper()
	r := &trees{commits: map[string]map[string]string{"base": shop, "main": main}}
	s := scannerOf(t, Options{})
	nodes, err := s.Scan(t.Context(), r, "main")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[int]Delta{}
	for n, files := range heads {
		commit := fmt.Sprint("c", n)
		r.commits[commit] = files
		if changes[n], err = s.Delta(t.Context(), r, "main", commit); err != nil {
			t.Fatal(err)
		}
	}
	return Collisions(nodes, changes)
}

func TestCollisions(t *testing.T) {
	for _, tt := range []struct {
		name  string
		main  tree // on top of shop
		heads map[int]tree
		want  map[int][]string
	}{
		{"one change", nil, map[int]tree{12: {at("0004_a"): mig("0003_y")}}, nil},
		{
			"two follow one", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_b"): mig("auth.0001", "0003_y")}},
			map[int][]string{
				12: {"c12 (0004_a) and c15 (0004_b) both follow shop.0003_y"},
				15: {"c12 (0004_a) and c15 (0004_b) both follow shop.0003_y"},
			},
		},
		{
			"stale",
			tree{at("0004_c"): mig("0003_y"), at("0005_d"): mig("0004_c")},
			map[int]tree{12: {at("0004_a"): mig("0003_y")}},
			map[int][]string{12: {"c12 is stale: 0004_a follows shop.0003_y, but main already has 0004_c there"}},
		},
		{
			"a merge migration clears it",
			tree{at("0004_c"): mig("0003_y")},
			map[int]tree{12: {at("0004_a"): mig("0003_y"), at("0004_c"): mig("0003_y"), at("0005_merge"): mig("0004_a", "0004_c")}},
			nil,
		},
		{
			"chained over main's",
			tree{at("0004_c"): mig("0003_y")},
			map[int]tree{12: {at("0005_a"): mig("0003_y", "0004_c")}},
			nil,
		},
		{
			"stacked changes", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_a"): mig("0003_y"), at("0005_b"): mig("0004_a")}},
			nil,
		},
		{
			"a stacked change and a third", nil,
			map[int]tree{
				12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_a"): mig("0003_y"), at("0005_b"): mig("0004_a")},
				16: {at("0004_z"): mig("0003_y")},
			},
			map[int][]string{
				12: {"c12 (0004_a) and c16 (0004_z) both follow shop.0003_y"},
				15: {"c15 (0004_a) and c16 (0004_z) both follow shop.0003_y"},
				16: {"c12 (0004_a) and c16 (0004_z) both follow shop.0003_y", "c15 (0004_a) and c16 (0004_z) both follow shop.0003_y"},
			},
		},
		{
			"two heads in one change", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y"), at("0004_b"): mig("0003_y")}},
			map[int][]string{12: {"in c12 0004_a and 0004_b both follow shop.0003_y"}},
		},
		{
			"the same name, other content", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_a"): mig("0003_y", "auth.0001")}},
			map[int][]string{
				12: {"c12 and c15 both add shop.0004_a, with different content"},
				15: {"c12 and c15 both add shop.0004_a, with different content"},
			},
		},
		{
			"other apps share a parent", nil,
			map[int]tree{12: {"rms/a/migrations/0001_i.py": mig("0003_y")}, 15: {"rms/b/migrations/0001_i.py": mig("0003_y")}},
			nil,
		},
		{
			"two begin an app", nil,
			map[int]tree{12: {"rms/a/migrations/0001_i.py": mig()}, 15: {"rms/a/migrations/0001_j.py": mig()}},
			map[int][]string{
				12: {"c12 (0001_i) and c15 (0001_j) both start a"},
				15: {"c12 (0001_i) and c15 (0001_j) both start a"},
			},
		},
		{
			"a squash and a new one go together", nil,
			map[int]tree{
				12: {at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y")},
				15: {at("0004_a"): mig("0003_y")},
			},
			nil,
		},
		{
			"one follows the squash, one what it replaces",
			tree{at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"), at("0004_c"): mig("0001_squashed_0003_y")},
			map[int]tree{12: {at("0005_a"): mig("0004_c")}},
			nil,
		},
		{
			"a parent that is nowhere", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_renamed")}},
			map[int][]string{12: {"c12: 0004_a follows shop.0003_renamed, which neither main nor the change has"}},
		},
		{
			"a rewritten one", nil,
			map[int]tree{12: {at("0003_y"): "", at("0003_z"): mig("0002_x")}},
			nil,
		},
		{
			"main deleted its own meanwhile",
			tree{at("0003_y"): ""},
			map[int]tree{12: {at("0003_y"): "", at("0003_z"): mig("0002_x")}},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			heads := map[int]tree{}
			for n, more := range tt.heads {
				heads[n] = with(shop, more)
			}
			found := collide(t, with(shop, tt.main), heads)
			got := map[int][]string{}
			for n, list := range found {
				for _, c := range list {
					got[n] = append(got[n], c.Text)
					if c.Change != n || c.Fix == "" || c.App == "" || (c.With != 0) == c.Stale {
						t.Errorf("%+v", c)
					}
				}
				sort.Strings(got[n])
			}
			if len(got) != len(tt.want) || len(got) > 0 && !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestSquashHidesItsHeads(t *testing.T) {
	// 0004_b follows the replaced 0003_y, 0004_c the squash: two heads
	main := with(shop, tree{at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"), at("0004_c"): mig("0001_squashed_0003_y")})
	found := collide(t, main, map[int]tree{12: with(shop, tree{at("0004_b"): mig("0003_y")})})
	if len(found[12]) != 1 || !found[12][0].Stale || !strings.Contains(found[12][0].Text, "0004_c") {
		t.Fatalf("found %v", found)
	}
}

func TestSquashInTheChange(t *testing.T) {
	// main went on from 0003_y while the change squashed and followed that
	main := with(shop, tree{at("0004_c"): mig("0003_y")})
	found := collide(t, main, map[int]tree{12: with(shop, tree{
		at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"),
		at("0004_b"):               mig("0001_squashed_0003_y"),
	})})
	if len(found[12]) != 1 || !found[12][0].Stale || !strings.Contains(found[12][0].Text, "0004_c") {
		t.Fatalf("found %v", found)
	}
}

func TestRememberedByBlob(t *testing.T) {
	r := &trees{commits: map[string]map[string]string{"base": shop, "main": shop, "c1": with(shop, tree{at("0004_a"): mig("0003_y")})}}
	s := scannerOf(t, Options{})
	for range 3 {
		if _, err := s.Scan(t.Context(), r, "main"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delta(t.Context(), r, "main", "c1"); err != nil {
			t.Fatal(err)
		}
	}
	if r.read != 5 { // 0001 to 0004 and models.py
		t.Fatalf("%d blobs were read, want 5", r.read)
	}
}

// Fifty open changes over a thousand migrations, each with one that collides
// with all others and with main.
func BenchmarkCollisions(b *testing.B) {
	main := tree{}
	for app := range 10 {
		for i := range 100 {
			text := mig()
			if i > 0 {
				text = mig(fmt.Sprintf("a%d.%04d", app, i-1))
			}
			main[fmt.Sprintf("a%d/migrations/%04d.py", app, i)] = text
		}
	}
	r := &trees{commits: map[string]map[string]string{"base": main, "main": main}}
	for c := range 50 {
		r.commits[fmt.Sprint("c", c)] = with(main, tree{
			fmt.Sprintf("a%d/migrations/0100_%d.py", c%10, c):     mig(fmt.Sprintf("a%d.0099", c%10)),
			fmt.Sprintf("a%d/migrations/0051_%d.py", (c+1)%10, c): mig(fmt.Sprintf("a%d.0050", (c+1)%10)),
		})
	}
	s := scannerOf(b, Options{})
	b.ResetTimer()
	for b.Loop() {
		nodes, err := s.Scan(b.Context(), r, "main")
		if err != nil {
			b.Fatal(err)
		}
		changes := map[int]Delta{}
		for c := range 50 {
			added, _, err := r.ChangedBlobs(b.Context(), "main", fmt.Sprint("c", c))
			if err != nil {
				b.Fatal(err)
			}

			n, err := s.nodes(b.Context(), r, added)
			if err != nil {
				b.Fatal(err)
			}
			changes[c+1] = Delta{Added: n}
		}
		if found := Collisions(nodes, changes); len(found) != 50 {
			b.Fatalf("%d changes collide", len(found))
		}
	}
}
