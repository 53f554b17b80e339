import { describe, expect, it } from 'vitest';
import { parseCidr } from '../address/cidr.ts';
import { expectedTags, overlayChains, rulesetScript } from './ruleset.ts';

const input = {
  network: parseCidr('10.77.0.0/16'),
  subnet: parseCidr('10.77.3.0/24'),
  device: 'nap.1',
  bridge: 'nap0',
};

describe('ruleset', () => {
  it('names no priority by a word, for nft 1.0.6 does not know them in every hook', () => {
    const script = rulesetScript(overlayChains(input));
    for (const [, priority] of script.matchAll(/priority (\S+);/g)) {
      expect(priority).toMatch(/^-?\d+$/);
    }
  });

  it('recognises each rule by its text and place', () => {
    const here = expectedTags(overlayChains(input));
    const elsewhere = expectedTags(overlayChains({ ...input, subnet: parseCidr('10.77.4.0/24') }));
    expect(here.get('overlay-forward')).toEqual(elsewhere.get('overlay-forward'));
    expect(here.get('overlay-postrouting')).not.toEqual(elsewhere.get('overlay-postrouting'));
    const all = [...here.values()].flat();
    expect(new Set(all).size).toBe(all.length);
  });
});
