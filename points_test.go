package bosman

import "testing"

func TestPointNames(t *testing.T) {
	for name, want := range map[string]bool{
		"shop-d12": true, "shop-d12-before": true,
		"shop-dev-d12": false, "shop-d": false, "other-d1": false, "shop-d3-d12": false, "shop-d3-d12-before": false,
	} {
		if got := (RestorePoint{Name: name}).App() == "shop"; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, app := range []string{"shop", "shop-d3", "shop-dev"} {
		for _, when := range []PointWhen{PointBefore, PointAfter} {
			name := PointName(app, 12, when)
			if a, n, w, ok := ParsePointName(name); a != app || n != 12 || w != when || !ok {
				t.Errorf("%s: %s, %d, %s, %v", name, a, n, w, ok)
			}
		}
	}
}
