package report

import (
	"math"
	"strconv"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/perf/timeline"
)

// maxPoints bounds the points that are shown: those of a day at the default
// interval. Where there are more, every second one is shown, or third, and so on.
const maxPoints = 288

func appendPoints(b []byte, interval time.Duration, points []timeline.Point) []byte {
	every := max((len(points)+maxPoints-1)/maxPoints, 1)
	b = append(b, `{"interval_seconds":`...)
	b = strconv.AppendFloat(b, interval.Seconds()*float64(every), 'g', -1, 64)
	b = append(b, `,"points":[`...)
	separator := ""
	for i, p := range points {
		if (len(points)-1-i)%every != 0 { // the newest one is shown
			continue
		}
		b = append(b, separator...)
		separator = ","
		b = append(b, `{"time":"`...)
		b = p.Time.AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","figures":{`...)
		for j, name := range p.Names {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(jsonscan.AppendString(b, name), ':')
			b = appendNumber(b, p.Values[j])
		}
		b = append(b, `}}`...)
	}
	return append(b, `]}`...)
}

// appendNumber writes a number as encoding/json does.
func appendNumber(b []byte, v float32) []byte {
	format := byte('f')
	if a := math.Abs(float64(v)); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, float64(v), format, -1, 32)
}
