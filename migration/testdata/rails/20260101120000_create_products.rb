# frozen_string_literal: true

class CreateProducts < ActiveRecord::Migration[8.0]
  def change
    create_table :products do |t|
      t.string :name, null: false
      t.references :part, null: false, foreign_key: true
      t.timestamps
    end
    add_index :products, :name
  end
end
