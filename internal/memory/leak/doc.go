// Package leak says whether the process leaks, what, how fast and where.
//
// Every ten seconds it reads quantities that grow where something is not given back:
// goroutines, the heap that collections find in use, file descriptors, connections and
// registered objects, with the load at that time and the requests done so far. Each
// quantity is tested for growth over 6, 12 and 36 minutes and 3.6 hours:
//
//  1. What goes with the load is taken off, by least squares beside a growth with time:
//     requests under way, connections, bytes that a cache stores. A unit of load takes no
//     less than nothing and no more than it reasonably can. Where load and time went
//     together, so that nobody can tell one from the other, the growth is the less sure by
//     its variance inflation factor.
//  2. The growth is Sen's: the median of the slopes between each two values, which few odd
//     values do not move (Sen, Estimates of the regression coefficient based on Kendall's
//     tau, JASA 63, 1968).
//  3. Kendall's S, of the Mann-Kendall test, has to be beyond what happens in 3 of 10
//     million random orders, by its exact distribution (Mann, Nonparametric tests against
//     trend, Econometrica 13, 1945; Kendall, A new measure of rank correlation,
//     Biometrika 30, 1938).
//  4. The slope less its confidence interval for the same probability has to make a
//     material growth. The interval grows with the autocorrelation of what is left, as Hamed
//     and Rao do it (A modified Mann-Kendall trend test for autocorrelated data, Journal of
//     Hydrology 204, 1998).
//  5. The quantity has to grow from each quarter of the time to the next, by half of the
//     slope at least: a step grows once, and what fills grows less and less.
//  6. It has to grow by twice as much as it fell in any such time in the last hours or so:
//     what rises and falls by itself does so alike, whatever its distribution, and a leak
//     never falls.
//  7. What goes with the load of the last minutes, such as connections that clients keep,
//     is judged only where there was as much load before.
//
// That said of one quantity, it is suspected; three times in a row, it leaks. On the
// longer scales each block of values is represented by the least of them, since what
// leaks never goes. A sequential test, such as CUSUM or that of Page and Hinkley, finds
// a growth sooner where a level without leaks is known. Here it is not: it moves with
// what a load is made of, and whatever such a test takes for the level a cache that fills
// exceeds at last.
//
// The sites are those of which there is more in profiles of goroutines and of the heap,
// and in the list of descriptors, than in those of ten minutes before or earlier.
//
// detector_test.go has the false alarms and the delays, by simulation.
package leak
