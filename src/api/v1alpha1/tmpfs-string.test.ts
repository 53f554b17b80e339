import { describe, expect, it } from 'vitest';
import { parseTmpfs } from './tmpfs-string.ts';

describe('parseTmpfs', () => {
  it.each([
    ['/run', { target: '/run', options: '' }],
    ['/run/', { target: '/run', options: '' }],
    ['/run:size=64M,mode=1777', { target: '/run', options: 'mode=1777,size=67108864' }],
    ['/c:uid=1,gid=2,noexec', { target: '/c', options: 'gid=2,noexec,uid=1' }],
  ])('reads %s', (text, expected) => {
    expect(parseTmpfs(text)).toEqual(expected);
  });

  it.each(['run', '/', '', '/a/../b', '/a:size=x', '/a:mode=999', '/a:suid', '/a:b:c', '/a:size'])(
    'refuses %j',
    (text) => {
      expect(() => parseTmpfs(text)).toThrow();
    },
  );
});
