import { describe, expect, it } from 'vitest';
import { EngineError, isNotModified, toEngineError } from './errors.ts';

/** As docker-modem makes them. */
function answer(statusCode: number, message: string): Error {
  return Object.assign(new Error(`(HTTP code ${statusCode}) x - ${message}`), {
    statusCode,
    json: { message },
  });
}

const portText =
  'driver failed programming external connectivity on endpoint x: Error starting userland proxy: ' +
  'listen tcp4 0.0.0.0:80: bind: address already in use';

describe('toEngineError', () => {
  it.each([
    [answer(500, portText), 'PortInUse'],
    [answer(500, 'Bind for 0.0.0.0:80 failed: port is already allocated'), 'PortInUse'],
    [
      answer(400, 'OCI runtime create failed: exec: "x": executable file not found in $PATH'),
      'StartFailed',
    ],
    [answer(404, 'No such container: x'), 'NotFound'],
    [answer(409, 'Conflict. The container name "/x" is already in use'), 'Conflict'],
    [answer(400, 'invalid reference format'), 'EngineRefused'],
    [
      Object.assign(new Error('connect ENOENT /var/run/docker.sock'), { code: 'ENOENT' }),
      'EngineUnavailable',
    ],
    [Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }), 'EngineUnavailable'],
    [new Error('socket hang up'), 'EngineUnavailable'],
    [new DOMException('timed out', 'TimeoutError'), 'EngineUnavailable'],
    ['odd', 'EngineRefused'],
  ])('%s is %s', (thrown, reason) => {
    expect(toEngineError(thrown, 'start').reason).toBe(reason);
  });

  it("keeps the engine's words without decoration", () => {
    expect(toEngineError(answer(409, 'name is taken '), 'create').message).toBe('name is taken');
  });

  it('leaves what is one already', () => {
    const error = new EngineError('PortInUse', 'x');
    expect(toEngineError(error, 'start')).toBe(error);
  });

  it('knows 304', () => {
    expect(isNotModified(answer(304, ''))).toBe(true);
    expect(isNotModified(answer(404, ''))).toBe(false);
  });
});
