/** Why a file could not be brought up to date; the last good one stays. */
export class TemplateTrouble extends Error {
  override readonly name = 'TemplateTrouble';
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}
