package ui

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/texts"
)

// WeatherText is what the picture says: "4 of the last 5 good".
func WeatherText(ctx context.Context, w bosman.Weather) string {
	if w.Of == 0 {
		return texts.T(ctx, "nothing ran yet")
	}
	return texts.T(ctx, "%d of the last %d good", w.Good, w.Of)
}
