package memory

// Level is how scarce memory is.
type Level int32

const (
	// Normal is that there is enough.
	Normal Level = iota
	// Elevated is from the threshold on: what can be had again is let go of, and
	// nothing is loaded ahead.
	Elevated
	// High is half way from there to the whole: what is of low priority is refused.
	High
	// Critical is half way from there: only work that has begun goes on.
	Critical
)

// String gives the level's name.
func (l Level) String() string {
	return [...]string{"normal", "elevated", "high", "critical"}[l]
}

// back is how far below its mark what is used has to be for a level to end, so that
// it does not come and go.
const back = 0.05

// marks are what parts of the whole the levels after Normal begin at.
func marks(threshold float64) [Critical]float64 {
	left := 1 - threshold
	return [...]float64{threshold, threshold + left/2, threshold + left*3/4}
}

// next is the level that follows l when that part of the whole is used. It rises at
// once and falls a step at a time.
func (l Level) next(used, threshold float64) Level {
	m := marks(threshold)
	up := Normal
	for i, mark := range m {
		if used >= mark {
			up = Level(i + 1)
		}
	}
	if up >= l {
		return up
	}
	if used < m[l-1]-back {
		return l - 1
	}
	return l
}
