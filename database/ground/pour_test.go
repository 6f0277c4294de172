package ground

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slowly takes what it is given a little later, and no more than most bytes.
type slowly struct {
	bytes.Buffer
	most   int
	pieces int
}

var errMost = errors.New("no more")

func (s *slowly) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	s.pieces++
	if s.Len()+len(b) > s.most {
		return 0, errMost
	}
	return s.Buffer.Write(b)
}

func TestPour(t *testing.T) {
	const lines = 400_000
	all := &slowly{most: 1 << 30}
	var pid int
	refused, err := Pour(exec.Command("seq", "1", "400000"), all, func(p int) { pid = p })
	if refused != nil || err != nil || pid == 0 {
		t.Fatal(refused, err, pid)
	}
	if got := strings.Fields(all.String()); len(got) != lines || got[0] != "1" || got[lines-1] != "400000" {
		t.Errorf("%d lines", len(got))
	}
	if all.pieces > 50 {
		t.Errorf("%d bytes came in %d pieces", all.Len(), all.pieces)
	}
	// One that does not end is told that nobody listens.
	if refused, err := Pour(exec.Command("yes"), &slowly{most: 5 << 20}, nil); !errors.Is(refused, errMost) || err == nil {
		t.Errorf("refused %v, the program %v", refused, err)
	}
	// What was printed before a failure is there.
	some := &slowly{most: 1 << 20}
	if refused, err := Pour(exec.Command("sh", "-c", "echo words; exit 3"), some, nil); refused != nil || err == nil || some.String() != "words\n" {
		t.Errorf("refused %v, the program %v, %q", refused, err, some.String())
	}
	if _, err := Pour(exec.Command("/missing/program"), some, nil); err == nil {
		t.Error("a program that is not there was run")
	}
}

func TestPourInLargePieces(t *testing.T) {
	was := stdbufs
	defer func() { stdbufs = was }()
	said := func(program string, arguments ...string) string {
		t.Helper()
		out := &slowly{most: 1 << 20}
		cmd := exec.Command(program, arguments...)
		cmd.Env = []string{"SECRET=one two"}
		if refused, err := Pour(cmd, out, nil); refused != nil || err != nil {
			t.Fatal(refused, err)
		}
		return out.String()
	}
	if got := said("env", "--null"); !strings.Contains(got, "_STDBUF_O=262144\x00") || !strings.Contains(got, "SECRET=one two\x00") {
		t.Errorf("%q", got)
	}
	// The program is our own child, which ends with us.
	if got, want := said("sh", "-c", "echo $PPID"), strconv.Itoa(os.Getpid())+"\n"; got != want {
		t.Errorf("the program is a child of %q instead of %q", got, want)
	}
	stdbufs = []string{"/missing/library.so"}
	if got := said("env", "--null"); got != "SECRET=one two\x00" {
		t.Errorf("without the library: %q", got)
	}
}
