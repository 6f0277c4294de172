package ui

import (
	"fmt"
	"strings"
	"testing"
)

func TestCommandsAreEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"run `git mv 'a' b`, or not":  `run <code class="run">git mv &#39;a&#39; b</code>, or not`,
		"<b> `<i>` &":                 `&lt;b&gt; <code class="run">&lt;i&gt;</code> &amp;`,
		"one ` alone <script>":        "one ` alone &lt;script&gt;",
		"`a` `b`":                     `<code class="run">a</code> <code class="run">b</code>`,
		"nothing":                     "nothing",
		"`</code><script>x</script>`": `<code class="run">&lt;/code&gt;&lt;script&gt;x&lt;/script&gt;</code>`,
	} {
		if got := commands(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// All of a list is shown, folded, or counted.
func TestFolds(t *testing.T) {
	for _, n := range []int{0, 1, Few, Few + 1, Few + 2, 300, 5000} {
		list := make([]int, n)
		for i := range list {
			list[i] = i
		}
		head := Head(list)
		rest, left := Tail(list)
		if len(head)+len(rest)+left != n || len(head) > Few+1 || len(rest) > 300 || len(rest) == 1 {
			t.Errorf("of %d: %d shown, %d folded, %d counted", n, len(head), len(rest), left)
		}
		for i, v := range append(append([]int{}, head...), rest...) {
			if v != i {
				t.Fatalf("of %d: %d stands where %d should", n, v, i)
			}
		}
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("column a.b%d dropped", i))
	}
	var b strings.Builder
	if err := Clauses(strings.Join(many, "; ")).Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "<li>"); n != Few+300 || !strings.Contains(b.String(), "and 992 more changes of the schema") || !strings.Contains(b.String(), "and 692 more") {
		t.Errorf("%d clauses in %d bytes", n, b.Len())
	}
}
