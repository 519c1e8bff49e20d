package model

var zz = routes{{0, 0, 0, 0}, {0, 0, 0, 0}}

func configs() []config {
	r01 := routes{{0, 1, 0}}
	return []config{
		{name: "zombie", P: 1, N: 2, T: 1, W: 2, route: zz, assign: 3, crash: 1, drop: 1, snaps: 4, live: 1},
		{name: "maint", P: 1, N: 2, T: 1, W: 2, route: zz, assign: 2, foreign: 1, expire: 1, gloss: 1, snaps: 5, live: 1},
		{name: "filtered", P: 1, N: 3, T: 1, W: 2, route: routes{{0, -1, 0}}, assign: 2, snaps: 4, live: 1},
		{name: "filtered2", P: 1, N: 3, T: 1, W: 2, route: routes{{0, -1, -1}}, assign: 2, snaps: 4, live: 1},
		{name: "fanout", P: 1, N: 3, T: 2, W: 2, route: r01, assign: 2, snaps: 3, live: 1},
		{name: "fanoutloss", P: 1, N: 2, T: 2, W: 2, route: routes{{1, 0}}, assign: 2, gloss: 1, crash: 1, snaps: 3, live: 1},
		{name: "twopart", P: 2, N: 1, T: 1, W: 2, route: zz, assign: 3, foreign: 1, snaps: 4, live: 1},
		{name: "wide", P: 2, N: 1, T: 1, W: 2, route: zz, assign: 3, snaps: 4, wide: true, live: 1},
		{name: "origin", P: 1, N: 3, T: 1, W: 2, route: zz, assign: 2, gloss: 1, crash: 1, latest: true, snaps: 3, live: 1},
		{name: "flip", P: 1, N: 2, T: 2, W: 2, route: routes{{1, 0}}, assign: 2, crash: 1, flip: 1, snaps: 3, live: 1},
		{name: "rollback", P: 1, N: 2, T: 1, W: 2, route: zz, assign: 2, roll: 1, foreign: 1, snaps: 5, live: 1},
		{name: "replay", P: 1, N: 3, T: 1, W: 2, route: zz, assign: 2, roll: 1, replay: 1, snaps: 5, live: 1},
		{name: "replay2", P: 1, N: 4, T: 2, W: 1, route: routes{{0, 0, 1, 1}}, assign: 2, roll: 1, replay: 1, snaps: 4, live: 1},
		{name: "replay3", P: 1, N: 3, T: 2, W: 2, route: r01, assign: 2, roll: 1, replay: 1, noack: true, snaps: 4, live: 2},
		{name: "replaytwo", P: 1, N: 3, T: 2, W: 1, route: routes{{0, 1, 1}}, assign: 2, roll: 2, replay: 2, bound: true, noack: true, snaps: 5, live: 1},
		{name: "skip", P: 1, N: 3, T: 2, W: 1, route: r01, assign: 2, roll: 1, skip: 1, snaps: 4, live: 1},
		{name: "halted", P: 1, N: 4, T: 2, W: 1, route: routes{{0, 0, 1, 0}}, assign: 2, roll: 1, skip: 1, snaps: 4, live: 1},
		{name: "halted2", P: 1, N: 3, T: 2, W: 2, route: routes{{0, 0, 1}}, assign: 2, crash: 1, roll: 1, skip: 1, noack: true, snaps: 4, live: 1},
		{name: "revision", P: 1, N: 2, T: 2, W: 2, route: routes{{0, 0}}, route1: routes{{1, 1}}, assign: 2, crash: 1, revs: 1, snaps: 4, live: 1},
		{name: "revision2", P: 1, N: 3, T: 2, W: 1, route: routes{{1, 0, -1}}, route1: routes{{0, 1, 0}}, assign: 2, gloss: 1, revs: 1, snaps: 4, live: 1},
		{name: "revision3", P: 1, N: 3, T: 2, W: 2, route: routes{{1, 0, -1}}, route1: routes{{0, 1, 0}}, assign: 2, revs: 1, noack: true, snaps: 4, live: 2},
		{name: "revparts", P: 2, N: 1, T: 2, W: 1, route: routes{{0}, {0}}, route1: routes{{1}, {1}}, assign: 3, revs: 1, snaps: 4, live: 1},
		{name: "revroll", P: 1, N: 2, T: 2, W: 1, route: routes{{0, 0}}, route1: routes{{1, 1}}, assign: 2, revs: 1, roll: 1, replay: 1, snaps: 4, live: 1},
		{name: "revskip", P: 1, N: 2, T: 2, W: 2, route: routes{{0, 0}}, route1: routes{{1, 1}}, assign: 2, revs: 1, roll: 1, skip: 1, noack: true, bound: true, snaps: 5, live: 1},
		{name: "aba", P: 1, N: 4, T: 1, W: 2, route: zz, assign: 3, roll: 1, noack: true, snaps: 4, max: 6_000_000},
		{name: "origrev", P: 1, N: 3, T: 1, W: 2, route: routes{{-1, -1, 0}}, route1: routes{{0, 0, 0}}, assign: 3, latest: true, revs: 1, two: true, snaps: 4, live: 1},
		{name: "revrace3", P: 1, N: 2, T: 2, W: 2, route: routes{{0, 0}}, route1: routes{{0, 1}}, assign: 2, revs: 1, roll: 1, replay: 1, noack: true, bound: true, snaps: 6, live: 4},
		{name: "revrace", P: 1, N: 2, T: 2, W: 1, route: routes{{0, 0}}, route1: routes{{0, 1}}, assign: 2, revs: 1, roll: 1, skip: 1, noack: true, bound: true, snaps: 6, live: 2},
		{name: "revrace2", P: 1, N: 2, T: 2, W: 1, route: routes{{0, 0}}, route1: routes{{1, 1}}, assign: 3, revs: 1, roll: 1, replay: 1, bound: true, snaps: 6, live: 2},
		{name: "revexp", P: 1, N: 2, T: 1, W: 1, route: routes{{0, 0}}, route1: routes{{0, -1}}, assign: 2, revs: 1, roll: 1, expire: 1, noack: true, bound: true, snaps: 6, live: 0},
		{name: "admission"},
		{name: "s3small", live: 1},
		{name: "s3lost", live: 1},
		{name: "s3taken", live: 1},
		{name: "s3fence", live: 1},
		{name: "s3", live: 1},
		{name: "s3two", live: 1},
		{name: "s3clean", live: 1},
		{name: "s3noage", live: 1},
		{name: "s3take", live: 1},
		{name: "s3life", live: 1},
		{name: "s3lifetwo", live: 1},
		{name: "s3all", live: 1},
		{name: "s3rev", live: 1},
	}
}

// blind is a known limit: rollback + foreign commit + expiry of all evidence before anyone looks is not detectable.
var blind = config{name: "blind", P: 1, N: 2, T: 1, W: 1, route: zz, assign: 1, roll: 1, foreign: 2, expire: 1, snaps: 6}

// big is explored by random walks only.
var big = config{
	name: "big", P: 2, N: 3, T: 2, W: 2, route: routes{{0, 1, 0}, {1, -1, 0}}, route1: routes{{1, 1, 0}, {0, -1, 1}},
	assign: 6, foreign: 1, expire: 1, crash: 2, drop: 2, gloss: 1, roll: 1, replay: 1, skip: 1, revs: 1, snaps: 8,
}

type mutant struct{ name, config, what string }

var mutants = []mutant{
	{"nopin", "zombie", "the library refreshes and replays on conflict"},
	{"nocheck", "zombie", "the head is asserted, the watermark is not re-checked on the new base"},
	{"stalelow", "zombie", "watermark above `from` is committed anyway"},
	{"curonly", "maint", "watermark from the current snapshot's summary only"},
	{"walk", "maint", "watermark from ancestors' summaries only"},
	{"metaonly", "filtered2", "zero-row progress as a metadata-only commit"},
	{"gpos", "zombie", "G = position instead of the low watermark"},
	{"norewind", "rollback", "the property is trusted after a rollback"},
	{"noseq", "aba", "format v1: no sequence-number check"},
	{"latest", "maint", "no G: start at the log end"},
	{"minwm", "fanoutloss", "no G: start at the lowest known watermark"},
	{"noorigin", "origin", "no stored origin: `latest` is evaluated again"},
	{"statedlq", "flip", "row or dead letter depends on the table's schema"},
	{"letgo", "halted", "a halted table's rows are let go, G is not held"},
	{"letgoto", "halted", "rows are let go, `to` is not held, no second reader"},
	{"noreplayepoch", "replay", "G and floors carry no replay number"},
	{"oldfloor", "replay2", "floors survive a change of the replay number"},
	{"replayfloor", "replaytwo", "R = the ancestor's floor alone"},
	{"nofence", "revision", "a new revision does not fence the tables"},
	{"barrierpos", "revision2", "the old revision counts as finished when it was read"},
	{"nocap", "revision2", "G of an old revision may pass the barrier"},
	{"keepstamp", "revparts", "a newer stamp is taken over without assigning all partitions anew"},
	{"oldO", "origrev", "the barrier is made before the origin and G is capped below O"},
	{"skipfence", "revrace", "a rewound table gets no fence"},
	{"admitleq", "admission", "entries count by rev <= r"},
	{"nopublish", "s3small", "marks and bind answer while a commit is pending"},
	{"doneearly", "s3small", "DONE is decided before a pending commit is published"},
	{"earlycomplete", "s3small", "Complete before the swap"},
	{"nocompare", "s3small", "the swap is sent without comparing marks"},
	{"clearfirst", "s3small", "taken out of pending before Complete"},
	{"cleanchain", "s3clean", "clean-up ignores the chain"},
	{"noage", "s3clean", "clean-up without the age rule"},
	{"nohead", "s3lost", "NoSuchUpload counts as done without HEAD"},
	{"twopending", "s3lost", "two pending commits of one partition"},
	{"replaykeep", "s3lost", "resume --replay leaves visible keys"},
	{"replaynoabort", "s3life", "resume --replay leaves uploads that a late Complete can publish"},
	{"voiddone", "s3lost", "no longer pending counts as published, also after a replay"},
	{"replayaba", "s3lost", "resume --replay brings the old register value back"},
	{"undecided", "s3life", "resume --replay removes keys before the register says so"},
	{"replayblind", "s3take", "resume --replay although a consumer has a key"},
}
