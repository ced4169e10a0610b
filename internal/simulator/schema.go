package simulator

import (
	"encoding/json"
	"math/rand/v2"
)

func instance(raw json.RawMessage, r *rand.Rand) (string, error) { return "{}", nil }
