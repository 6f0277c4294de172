package manifest

import (
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestTimeOfRehearsals(t *testing.T) {
	const base = "processes: {web: ./app}\n"
	for text, want := range map[string]time.Duration{"": bosman.RehearsalTime, "migrations: {time: 45m}\n": 45 * time.Minute, "migrations: {time: 12h}\n": 12 * time.Hour} {
		m, err := Parse([]byte(base+text), "")
		if err != nil || m.Migration.Limit() != want {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"migrations: {time: 13h}\n", "migrations: {time: 10ms}\n", "migrations: {time: soon}\n"} {
		if _, err := Parse([]byte(base+text), ""); err == nil || !strings.Contains(err.Error(), "migrations.time") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
