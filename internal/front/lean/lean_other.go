//go:build !linux

// Package lean is an engine for sockets of Linux, which this system has none of.
package lean

import "sluice/internal/front/engine"

// Available says whether the engine is there on this system.
const Available = false

// New gives beside, which speaks everything.
func New(_ engine.Options, beside engine.Engine) engine.Engine { return beside }
