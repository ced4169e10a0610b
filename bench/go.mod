module sluice/bench

go 1.26.0

require (
	github.com/maypok86/otter/v2 v2.4.0
	github.com/ulikunitz/xz v0.5.17
	sluice v0.0.0
)

replace sluice => ../
