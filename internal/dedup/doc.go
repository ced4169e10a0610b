// Package dedup makes long conversations shorter without losing a thing: a stage that finds
// what a request says again and has it said once.
//
// Mode safe takes out what is there twice: a prompt of the system that is in force already, a
// long message whose equal comes next. Mode blocks also puts a short reference in the place of
// a long run of lines that stands further up, word for word.
//
// The repeats are found as J. Bentley and D. McIlroy do (Data Compression Using Long Common
// Strings, DCC 1999): of what is kept, fingerprints are noted at a fixed distance; each line is
// looked up; a hit is compared byte by byte and made as long as it can be. Lines are the
// boundaries that the content defines, as chunks are in FastCDC (Xia et al., USENIX ATC 2016): a
// model finds lines again, and half of one is no text. It takes time linear in the body.
//
// It promises, of every request:
//   - the last message is kept byte for byte, and so is everything that is no text of a message:
//     tool calls, their results' ids, images, schemas, thoughts, cache_control;
//   - the only copy of a text is never taken: references name text that is kept;
//   - Expand puts back what a reference stands for, exactly;
//   - to rewrite what is rewritten changes nothing;
//   - what becomes of a message depends on those before it and the one after it, so that a
//     conversation that has grown begins as it did before, and the caches of prompts that
//     services keep go on matching;
//   - with such a cache no message is rewritten where that costs more than it saves
//     (Config.PromptCache).
//
// Where a request has its texts each dialect says (dialect.Shape). What it is not sure of passes
// unchanged. docs/dedup.md says it to users.
package dedup
