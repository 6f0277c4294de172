package migration

import (
	"fmt"
	"strings"
	"testing"
)

// labelled is a revision of Alembic's with its branch.
func labelled(revision, down, more string) string {
	return strings.Replace(revisionFile(revision, down), "\n\ndef", "\n"+more+"\n\ndef", 1)
}

// app writes a Django migration; "!" before a parent is its run_before.
func app(parents ...string) string {
	var follow, before []string
	for _, p := range parents {
		if b, ok := strings.CutPrefix(p, "!"); ok {
			before = append(before, b)
		} else {
			follow = append(follow, p)
		}
	}
	text := mig(follow...)
	if len(before) > 0 {
		text += "    run_before = ["
		for _, b := range before {
			label, name, _ := strings.Cut(b, ".")
			text += fmt.Sprintf("(%q, %q), ", label, name)
		}
		text += "]\n"
	}
	return text
}

// Graphs in which more happens than two that follow one.
func TestGraphs(t *testing.T) {
	alembic := tree{"m/versions/a.py": revisionFile("a1", "None")}
	store := tree{ // AppConfig.label = "store"
		"shop/migrations/0001_initial.py": mig("auth.0001_initial"),
		"shop/migrations/0002_x.py":       mig("store.0001_initial"),
		"shop/migrations/0003_y.py":       mig("store.0002_x"),
	}
	type want map[int]string // what the change is told, "|" between; "" for nothing
	for _, tt := range []struct {
		name       string
		base, main tree
		heads      map[int]tree
		want       want
		blocks     bool // c12 is blocked
	}{
		// Django
		{
			"an app with another label than its folder", store, nil,
			map[int]tree{12: {"shop/migrations/0004_a.py": mig("store.0003_y")}},
			want{12: ""},
			false,
		},
		{
			"an app with another label: two follow one", store, nil,
			map[int]tree{12: {"shop/migrations/0004_a.py": mig("store.0003_y")}, 15: {"shop/migrations/0004_b.py": mig("store.0003_y")}},
			want{12: "c12 (0004_a) and c15 (0004_b) both follow store.0003_y; |`python3 manage.py makemigrations --merge store`", 15: "both follow store.0003_y"},
			false,
		},
		{
			"an app with another label: stale", store,
			tree{"shop/migrations/0004_c.py": mig("store.0003_y")},
			map[int]tree{12: {"shop/migrations/0004_a.py": mig("store.0003_y")}},
			want{12: "c12 is stale: 0004_a follows store.0003_y, but main already has 0004_c there"},
			true,
		},
		{
			"one takes away what the other follows", shop, nil,
			map[int]tree{12: {at("0003_y"): "", at("0003_z"): mig("0002_x")}, 15: {at("0004_a"): mig("0003_y")}},
			want{12: "c12 takes shop.0003_y away, which c15 (0004_a) follows", 15: "c12 takes shop.0003_y away, which c15 (0004_a) follows"},
			false,
		},
		{
			"one squashes what the other follows", shop, nil,
			map[int]tree{
				12: {at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"), at("0003_y"): "", at("0002_x"): "", at("0001_initial"): ""},
				15: {at("0004_a"): mig("0003_y")},
			},
			want{12: "", 15: ""},
			false,
		},
		{
			"a circle", shop, nil,
			map[int]tree{12: {at("0004_a"): mig("0005_b"), at("0005_b"): mig("0004_a")}},
			want{12: "in c12 shop.0004_a, shop.0005_b follow one another in a circle"},
			true,
		},
		{
			"itself", shop, nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y", "0004_a")}},
			want{12: "in c12 shop.0004_a follows itself"},
			true,
		},
		{
			"a circle over two apps", shop, nil,
			map[int]tree{12: {"rms/a/migrations/0001_i.py": mig("b.0001_i"), "rms/b/migrations/0001_i.py": mig("a.0001_i")}},
			want{12: "in c12 a.0001_i, b.0001_i follow one another in a circle"},
			true,
		},
		{
			"a circle over main's, by run_before", shop, nil,
			map[int]tree{12: {at("0004_a"): app("0003_y", "!shop.0002_x")}},
			want{12: "follow one another in a circle"},
			true,
		},
		{
			"a circle because main's is rewritten", shop, nil,
			map[int]tree{12: {at("0002_x"): mig("0004_a"), at("0004_a"): mig("0003_y")}},
			want{12: "follow one another in a circle"},
			true,
		},
		{
			"run_before another app", with(shop, tree{"rms/a/migrations/0001_i.py": mig()}), nil,
			map[int]tree{12: {at("0004_a"): app("0003_y", "!a.0001_i")}},
			want{12: ""},
			false,
		},
		{
			"another app's that is nowhere", with(shop, tree{"rms/a/migrations/0001_i.py": mig()}), nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y", "a.0009_later", "auth.0099_x", "unheard.0001_of")}},
			want{12: "c12: 0004_a depends on a.0009_later, which neither main nor the change has"},
			false,
		},
		{
			"main has two heads", shop,
			tree{at("0004_c"): mig("0003_y"), at("0004_d"): mig("0003_y")},
			map[int]tree{12: {at("0005_a"): mig("0004_c")}, 16: {"rms/b/migrations/0001_i.py": mig()}},
			want{12: "main itself has two migrations of shop that nothing follows: 0004_c and 0004_d; on main, run `python3 manage.py makemigrations --merge shop`", 16: ""},
			false,
		},
		{
			"main has two heads, and the change joins them", shop,
			tree{at("0004_c"): mig("0003_y"), at("0004_d"): mig("0003_y")},
			map[int]tree{15: {at("0005_m"): mig("0004_c", "0004_d")}},
			want{15: ""},
			false,
		},
		{
			"swappable", shop, nil,
			map[int]tree{12: {at("0004_a"): strings.Replace(mig("0003_y"), "[(", "[migrations.swappable_dependency(settings.AUTH_USER_MODEL), (", 1)}},
			want{12: ""},
			false,
		},
		{
			"names that a shell would run", shop, nil,
			map[int]tree{12: {"x$(id)y/migrations/0001_i.py": mig()}, 15: {"x$(id)y/migrations/0001_j.py": mig()}},
			want{12: "both start x$(id)y; after the first of them is merged, merge main into the other and run `python3 manage.py makemigrations --merge`, or", 15: "both start"},
			false,
		},
		// Alembic
		{
			"two locations, one history", alembic, nil,
			map[int]tree{12: {"n/versions/b.py": revisionFile("b2", "'a1'")}, 15: {"m/versions/c.py": revisionFile("c3", "'a1'")}},
			want{12: "c12 (b) and c15 (c) both follow m.a1", 15: "c12 (b) and c15 (c) both follow m.a1"},
			false,
		},
		{
			"two locations, stale", alembic,
			tree{"m/versions/c.py": revisionFile("c3", "'a1'")},
			map[int]tree{12: {"n/versions/b.py": revisionFile("b2", "'a1'")}},
			want{12: "c12 is stale: b follows m.a1, but main already has c there"},
			true,
		},
		{
			"a branch of its own", alembic,
			tree{"m/versions/c.py": revisionFile("c3", "'a1'")},
			map[int]tree{12: {"m/versions/b.py": labelled("b2", "'a1'", "branch_labels = ('billing',)")}},
			want{12: ""},
			false,
		},
		{
			"a branch that begins anew", alembic, nil,
			map[int]tree{12: {"m/versions/b.py": labelled("b2", "None", "branch_labels = 'billing'\ndepends_on = 'a1'")}},
			want{12: ""},
			false,
		},
		{
			"a second beginning", alembic, nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "None")}},
			want{12: "c12 is stale: b starts m, but main already has a there"},
			true,
		},
		{
			"a third beginning where main has two", with(alembic, tree{"m/versions/z.py": revisionFile("z1", "None")}), nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "None")}},
			want{12: ""},
			false,
		},
		{
			"two in one branch", with(alembic, tree{"m/versions/l.py": labelled("l1", "None", "branch_labels = ('billing',)")}), nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'l1'")}, 15: {"m/versions/c.py": revisionFile("c3", "'l1'")}, 16: {"m/versions/d.py": revisionFile("d4", "'a1'")}},
			want{12: "c12 (b) and c15 (c) both follow m.l1", 15: "both follow m.l1", 16: ""},
			false,
		},
		{
			"depends on what is nowhere", alembic, nil,
			map[int]tree{12: {"m/versions/b.py": labelled("b2", "'a1'", "depends_on = ('zz', 'a1')")}},
			want{12: "c12: b depends on zz, which neither main nor the change has"},
			true,
		},
		{
			"depends on a branch", with(alembic, tree{"m/versions/l.py": labelled("l1", "None", "branch_labels = ('billing',)")}), nil,
			map[int]tree{12: {"m/versions/b.py": labelled("b2", "'a1'", "depends_on = 'billing@head'")}, 15: {"m/versions/c.py": labelled("c3", "'b2'", "depends_on = 'billing'"), "m/versions/b.py": labelled("b2", "'a1'", "depends_on = 'billing@head'")}},
			want{12: "", 15: ""},
			false,
		},
		{
			"one takes the head away", alembic, nil,
			map[int]tree{12: {"m/versions/a.py": "", "m/versions/n.py": revisionFile("n1", "None")}, 15: {"m/versions/b.py": revisionFile("b2", "'a1'")}},
			want{12: "c12 takes m.a1 away, which c15 (b) follows|c12 takes a away, which main has: Alembic", 15: "c12 takes m.a1 away"},
			true,
		},
		{
			"revisions that a shell would run", alembic, nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b; rm x", "'a1'")}, 15: {"m/versions/c.py": revisionFile("-c", "'a1'")}, 16: {"m/versions/d.py": revisionFile("$(id)", "'a1'")}},
			want{12: "`alembic merge -m merge 'b; rm x' '$(id)'`|`alembic merge -m merge heads`", 15: "both follow", 16: "both follow"},
			false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := compare(t, tt.base, with(tt.base, tt.main), tt.heads)
			for n, want := range tt.want {
				var all []string
				blocks := false
				for _, c := range found[n] {
					all = append(all, c.String())
					blocks = blocks || c.Stale
				}
				got := strings.Join(all, "\n")
				if want == "" && got != "" || blocks && (!tt.blocks || n != 12) {
					t.Errorf("c%d: %s", n, got)
				}
				if tt.blocks && !blocks && n == 12 {
					t.Errorf("c%d is not blocked: %s", n, got)
				}
				for _, part := range strings.Split(want, "|") {
					if !strings.Contains(got, part) {
						t.Errorf("c%d: %q does not say %q", n, got, part)
					}
				}
			}
		})
	}
}

// compare gives what collides; heads are on top of base.
func compare(t *testing.T, base, main tree, heads map[int]tree) map[int][]Collision {
	t.Helper()
	r := &trees{commits: map[string]map[string]string{"base": base, "main": main}}
	s := scannerOf(t, Options{})
	nodes, err := s.Scan(t.Context(), r, "main")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[int]Delta{}
	for n, more := range heads {
		commit := fmt.Sprint("c", n)
		r.commits[commit] = with(base, more)
		if changes[n], err = s.Delta(t.Context(), r, "main", commit); err != nil {
			t.Fatal(err)
		}
	}
	return Collisions(nodes, changes)
}
