// Versions of one piece that start together, one of which is heard: changing over keeps the place in the music.

const FADE = 0.015; // seconds

export class Player {
  constructor(changed) {
    this.changed = changed; // called when something starts, stops, or has moved on
    this.context = null;
    this.buffers = {};
    this.heard = {}; // name -> seconds
    this.stop();
  }

  // sounds: name -> address. Whatever played before is forgotten.
  async load(sounds) {
    this.stop();
    this.buffers = {};
    this.heard = {};
    this.context ??= new AudioContext();
    const turn = (this.turn = {});
    const entries = await Promise.all(
      Object.entries(sounds).map(async ([name, address]) => {
        const answer = await fetch(address);
        if (!answer.ok) throw new Error(`sound ${answer.status}`);
        return [name, await this.context.decodeAudioData(await answer.arrayBuffer())];
      }),
    );
    if (turn !== this.turn) return; // another load began meanwhile
    this.buffers = Object.fromEntries(entries);
    this.heard = Object.fromEntries(entries.map(([name]) => [name, 0]));
  }

  get playing() {
    return this.sources !== null;
  }

  get length() {
    return Math.max(0, ...Object.values(this.buffers).map((buffer) => buffer.duration));
  }

  get place() {
    return this.playing ? Math.min(this.length, this.context.currentTime - this.began) : this.offset;
  }

  // Starts, or changes over at the same place; pauses when it is heard already.
  async play(name) {
    if (!(name in this.buffers)) return;
    if (this.playing && this.active === name) return this.pause();
    this.count();
    this.active = name;
    if (this.playing) {
      for (const [each, { gain }] of Object.entries(this.sources)) {
        gain.gain.setTargetAtTime(each === name ? 1 : 0, this.context.currentTime, FADE / 3);
      }
      return this.changed();
    }
    await this.start(this.offset);
  }

  async toggle() {
    if (this.playing) this.pause();
    else await this.play(this.active ?? Object.keys(this.buffers)[0]);
  }

  pause() {
    if (!this.playing) return;
    const place = this.place;
    this.silence();
    this.offset = place < this.length - 0.05 ? place : 0;
    this.changed();
  }

  async restart() {
    if (!this.length) return; // what is being loaded goes on
    const name = this.active ?? Object.keys(this.buffers)[0];
    this.silence();
    this.offset = 0;
    this.active = null;
    await this.play(name);
  }

  stop() {
    this.silence();
    this.offset = 0;
    this.active = null;
  }

  async start(offset) {
    const turn = (this.turn = {});
    await this.context.resume(); // browsers wait for a touch or a key
    if (turn !== this.turn) return;
    const at = this.context.currentTime + 0.02;
    this.sources = {};
    for (const [name, buffer] of Object.entries(this.buffers)) {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      const gain = new GainNode(this.context, { gain: 0 });
      gain.gain.setTargetAtTime(name === this.active ? 1 : 0, at, FADE / 3);
      source.connect(gain).connect(this.context.destination);
      source.start(at, offset);
      this.sources[name] = { source, gain };
    }
    this.began = at - offset;
    this.counted = at;
    this.timer = setInterval(() => this.tick(), 50);
    this.changed();
  }

  tick() {
    this.count();
    if (this.context.currentTime - this.began >= this.length) {
      this.silence();
      this.offset = 0;
    }
    this.changed();
  }

  // Adds to the one that is heard what passed since the last time.
  count() {
    if (!this.playing) return;
    const now = Math.min(this.context.currentTime, this.began + this.length);
    if (now > this.counted) {
      this.heard[this.active] += now - this.counted;
      this.counted = now;
    }
  }

  silence() {
    this.turn = {};
    if (this.sources) this.count();
    clearInterval(this.timer);
    for (const { source, gain } of Object.values(this.sources ?? {})) {
      const now = this.context.currentTime;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setTargetAtTime(0, now, FADE / 3);
      source.stop(now + FADE * 2);
    }
    this.sources = null;
  }
}
