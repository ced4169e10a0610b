module sluice/bench

go 1.26.0
